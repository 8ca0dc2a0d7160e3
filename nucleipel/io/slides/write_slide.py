"""Writing slides and annotations: what the demo, tests and benchmarks read back."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nucleipel.core.atomic import replacing
from nucleipel.core.geometry import Box

TILE_PX = 256
STEP = 4
"""Between the levels of a written pyramid, as Aperio has it."""
SMALLEST_LEVEL_PX = 1024


def write_slide(path: Path, pixels: npt.NDArray[Any], *, mpp: float | None) -> None:
    """Write an (H, W) or (H, W, 3) image as a tiled OME-TIFF; `path` ends in .ome.tif."""
    import tifffile

    metadata = {"axes": "YXS" if pixels.ndim == 3 else "YX", **_physical_size(mpp)}
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            pixels,
            ome=True,
            photometric="rgb" if pixels.ndim == 3 else "minisblack",
            tile=(TILE_PX, TILE_PX),
            compression="zlib",
            predictor=True,
            metadata=metadata,
        )


def write_pyramid(
    path: Path,
    shape: tuple[int, int],
    read: Callable[[Box], npt.NDArray[np.uint8]],
    *,
    mpp: float | None,
) -> None:
    """Write a slide of (height, width) px as a JPEG pyramid, OME-TIFF; `path` ends in .ome.tif.

    `read` gives the (h, w, 3) uint8 pixels of a box, and is asked for one row of
    tiles at a time. Each level is `STEP` times coarser than the one before,
    sides rounded down; the second one is held in memory.
    """
    import tifffile

    sizes = [shape]
    while max(sizes[-1]) > SMALLEST_LEVEL_PX:
        sizes.append((sizes[-1][0] // STEP, sizes[-1][1] // STEP))
    options: dict[str, Any] = {
        "tile": (TILE_PX, TILE_PX),
        "photometric": "rgb",
        "subsampling": (2, 2),
        "compression": "jpeg",
        "compressionargs": {"level": 85},
        "dtype": np.uint8,
        "maxworkers": 1,
    }
    metadata = {"axes": "YXS", **_physical_size(mpp)}
    with (
        replacing(path) as temporary,
        tifffile.TiffWriter(temporary, ome=True, bigtiff=True) as tiff,
    ):
        for index, size in enumerate(sizes):
            last = index == len(sizes) - 1
            coarser = None if last else np.empty((*sizes[index + 1], 3), np.uint8)
            more = {"subfiletype": 1} if index else {"subifds": len(sizes) - 1}
            tiff.write(
                _tiles(size, read, coarser),
                shape=(*size, 3),
                metadata=None if index else metadata,
                **options,
                **more,
            )
            if coarser is not None:
                read = _reader_of(coarser)


def _tiles(
    shape: tuple[int, int],
    read: Callable[[Box], npt.NDArray[np.uint8]],
    coarser: npt.NDArray[np.uint8] | None,
) -> Iterator[npt.NDArray[np.uint8]]:
    """The tiles of a level in raster order; on the way `coarser` gets its means."""
    for y in range(0, shape[0], TILE_PX):
        rows = read(Box(y, 0, min(y + TILE_PX, shape[0]), shape[1]))
        if coarser is not None:
            part = coarser[y // STEP : (y + len(rows)) // STEP]
            if len(part):
                height, width = part.shape[:2]
                inside = rows[: height * STEP, : width * STEP]
                part[:] = cv2.resize(inside, (width, height), interpolation=cv2.INTER_AREA)
        for x in range(0, shape[1], TILE_PX):
            tile = rows[:, x : x + TILE_PX]
            missing = [(0, TILE_PX - length) for length in tile.shape[:2]]
            whole = tile.shape[:2] == (TILE_PX, TILE_PX)
            yield tile if whole else np.pad(tile, [*missing, (0, 0)], mode="edge")


def _reader_of(pixels: npt.NDArray[np.uint8]) -> Callable[[Box], npt.NDArray[np.uint8]]:
    return lambda box: pixels[box.slices]


def _physical_size(mpp: float | None) -> dict[str, Any]:
    if mpp is None:
        return {}
    sides = {f"PhysicalSize{axis}": mpp for axis in "XY"}
    return {**sides, **{f"{side}Unit": "µm" for side in sides}}


def write_annotation(path: Path, instance_map: npt.NDArray[np.integer]) -> None:
    """Write an (H, W) instance map as a tiled integer TIFF."""
    import tifffile

    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            instance_map,
            tile=(TILE_PX, TILE_PX),
            compression="zlib",
            predictor=True,
            photometric="minisblack",
        )


def write_picture(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Write an (H, W) or (H, W, 3) uint8 picture as PNG."""
    from PIL import Image

    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG")
