"""Finished nuclei of one image: instance map, table, overlay.

    OUT/<id>/instances.ome.tif   (H, W) uint32, ids 1..n; a pyramid when it is large
    OUT/<id>/nuclei.csv          one row a nucleus
    OUT/<id>/overlay.png         contours on the image

The folder appears with all three files in it, or not at all.
"""

import csv
import hashlib
import shutil
import uuid
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nucleipel.core.atomic import sync, sync_tree
from nucleipel.errors import ImageError, StoreError
from nucleipel.io.output import RECORD, read_record

INSTANCE_MAP, TABLE, OVERLAY = "instances.ome.tif", "nuclei.csv", "overlay.png"
PYRAMID_FROM_PX = 4096
TILE_PX = 512
BIGTIFF_FROM_BYTES = 2**31


def is_written(out: Path, image_id: str) -> bool:
    """Whether the nuclei of an image lie in `out`, whole."""
    return (out / image_id).is_dir()


def write_instances(
    out: Path,
    image_id: str,
    *,
    instance_map: npt.NDArray[np.uint32],
    columns: dict[str, npt.NDArray[np.generic]],
    overlay: npt.NDArray[np.uint8],
    mpp: float | None,
) -> None:
    """Write the three files of one image.

    `columns` are the table's, of one length, in order; NaN is written as an
    empty cell. `overlay` is (h, w, 3) uint8.
    """
    from PIL import Image

    partial = out / f".{image_id}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    _write_map(partial / INSTANCE_MAP, instance_map, mpp=mpp)
    _write_table(partial / TABLE, columns)
    Image.fromarray(overlay).save(partial / OVERLAY)
    sync_tree(partial)
    partial.rename(out / image_id)
    sync(out)


def read_instance_map(out: Path, image_id: str) -> npt.NDArray[np.uint32]:
    """The (H, W) uint32 instance map of an image, ours or another tool's in the same layout.

    Raises
    ------
    StoreError
        If `out` belongs to an unfinished run, or has no map of that image.
    ImageError
        If the map cannot be read.
    """
    import tifffile

    if (out / RECORD).is_file():
        read_record(out, stage=("stitch", "segment"))
    path = out / image_id / INSTANCE_MAP
    if not path.is_file():
        raise StoreError(f"{path}: no such file; expected the instances of image '{image_id}'")
    try:
        return np.asarray(tifffile.imread(path), np.uint32)
    except Exception as error:
        raise ImageError(f"{path}: cannot be read as TIFF: {error}; stitch again") from error


def _write_map(path: Path, instance_map: npt.NDArray[np.uint32], *, mpp: float | None) -> None:
    import tifffile

    # a random UUID is what tifffile would invent; the same nuclei shall give the same bytes
    digest = hashlib.sha256(instance_map.tobytes()).digest()
    metadata: dict[str, object] = {
        "axes": "YX",
        "Name": "instances",
        "UUID": f"urn:uuid:{uuid.UUID(bytes=digest[:16])}",
    }
    resolution: dict[str, object] = {}
    if mpp is not None:
        metadata |= {"PhysicalSizeX": mpp, "PhysicalSizeXUnit": "µm"}
        metadata |= {"PhysicalSizeY": mpp, "PhysicalSizeYUnit": "µm"}
        resolution = {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    levels = _pyramid(instance_map)
    options = {"tile": (TILE_PX, TILE_PX), "compression": "zlib", "predictor": True}
    size = sum(level.nbytes for level in levels)
    with tifffile.TiffWriter(path, ome=True, bigtiff=size > BIGTIFF_FROM_BYTES) as writer:
        writer.write(levels[0], subifds=len(levels) - 1, metadata=metadata, **options, **resolution)
        for level in levels[1:]:
            writer.write(level, subfiletype=1, **options)


def _pyramid(instance_map: npt.NDArray[np.uint32]) -> list[npt.NDArray[np.uint32]]:
    """The map and, of a large one, its halves: every second pixel, since ids have no mean."""
    levels = [instance_map]
    while max(instance_map.shape) > PYRAMID_FROM_PX and max(levels[-1].shape) > TILE_PX:
        levels.append(levels[-1][::2, ::2])
    return levels


def _write_table(path: Path, columns: dict[str, npt.NDArray[np.generic]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(map(_cell, values) for values in columns.values()), strict=True))


def _cell(value: np.generic) -> str:
    if isinstance(value, np.floating):
        return "" if np.isnan(value) else f"{value:.4f}"
    return str(value)
