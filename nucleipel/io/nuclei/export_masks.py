"""Instance maps as plain files that other programs read: TIFF, and bin2cell's sparse matrix."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.atomic import replacing

BAND_PX = 1024
BIGTIFF_FROM_BYTES = 2**31


def export_tiff(path: Path, labels: Any, *, mpp: float | None) -> None:
    """Write an (H, W) uint32 map as a TIFF of one plane, compressed in tiles, without a pyramid."""
    import tifffile

    per_cm = None if mpp is None else (1e4 / mpp, 1e4 / mpp)
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            _tiles(labels),
            shape=labels.shape,
            dtype=np.uint32,
            bigtiff=4 * labels.shape[0] * labels.shape[1] > BIGTIFF_FROM_BYTES,
            tile=(BAND_PX, BAND_PX),
            compression="zlib",
            photometric="minisblack",
            resolution=per_cm,
            resolutionunit="CENTIMETER" if per_cm else None,
            metadata=None,
        )


def export_sparse(path: Path, labels: Any) -> None:
    """Write an (H, W) map as the `scipy.sparse` matrix of its ids, `.npz`, int32."""
    from scipy import sparse

    bands = [sparse.csr_array(band.astype(np.int32)) for band in _bands(labels)]
    with replacing(path) as temporary, temporary.open("wb") as stream:
        # a matrix, not an array: bin2cell flattens what indexing gives
        sparse.save_npz(stream, sparse.csr_matrix(sparse.vstack(bands)))


def _bands(labels: Any) -> Iterator[npt.NDArray[np.uint32]]:
    height, width = labels.shape
    for y in range(0, height, BAND_PX):
        yield np.concatenate(
            [
                np.asarray(labels[y : y + BAND_PX, x : x + BAND_PX], np.uint32)
                for x in range(0, width, BAND_PX)
            ],
            axis=1,
        )


def _tiles(labels: Any) -> Iterator[npt.NDArray[np.uint32]]:
    height, width = labels.shape
    for y in range(0, height, BAND_PX):
        for x in range(0, width, BAND_PX):
            yield np.asarray(labels[y : y + BAND_PX, x : x + BAND_PX], np.uint32)
