"""Slides that OpenSlide reads and tifffile does not: MIRAX, Leica, Ventana, Sakura.

OpenSlide is LGPL, and comes with the extra `nucleipel[openslide]` only. It
joins what a scanner took in overlapping pieces, which lie at fractions of a
pixel: levels are therefore read in blocks on a fixed grid, so that a pixel
does not depend on the window it is asked in.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.stored_image import (
    RGB,
    Level,
    MppFound,
    Pixels,
    StoredImage,
    downsample_of,
    on_white,
)

BLOCK_PX = 1024
BLOCKS_KEPT = 16


def open_through_openslide(path: Path) -> StoredImage:
    """Open a slide with OpenSlide; errors as `open_image`, and if OpenSlide is not installed."""
    try:
        import openslide
    except ImportError as error:
        raise ImageError(
            f"{path}: {path.suffix} is read by OpenSlide, which is not installed;"
            " pip install 'nucleipel[openslide]'"
        ) from error
    slide = openslide.OpenSlide(path)
    shapes = [(height, width) for width, height in slide.level_dimensions]
    properties = slide.properties
    return StoredImage(
        path=path,
        container=f"{properties['openslide.vendor']}, OpenSlide {openslide.__library_version__}",
        levels=tuple(
            Level(shape, downsample_of(shape, shapes[0]), _loader(slide, index))
            for index, shape in enumerate(shapes)
        ),
        dtype=np.dtype(np.uint8),
        channels=RGB,
        photometric="RGB, what was not scanned is white",
        mpp_found=_mpp(properties),
        close=slide.close,
    )


def _mpp(properties: Any) -> tuple[MppFound, ...]:
    try:
        y, x = (float(properties[f"openslide.mpp-{axis}"]) for axis in "yx")
    except (KeyError, ValueError):
        return ()
    good = all(0 < mpp < float("inf") for mpp in (y, x))
    return (MppFound(y, x, "OpenSlide"),) if good else ()


def _loader(slide: Any, level: int) -> Callable[[Box], Pixels]:
    width, height = slide.level_dimensions[level]
    downsample = slide.level_downsamples[level]

    @lru_cache(maxsize=BLOCKS_KEPT)
    def block(row: int, column: int) -> Pixels:
        y, x = row * BLOCK_PX, column * BLOCK_PX
        size = (min(BLOCK_PX, width - x), min(BLOCK_PX, height - y))
        corner = (round(x * downsample), round(y * downsample))
        layers = np.asarray(slide.read_region(corner, level, size))
        return on_white(layers[..., :3], layers[..., 3:])

    def load(box: Box) -> Pixels:
        pixels = np.empty((*box.shape, 3), np.uint8)
        for row in range(box.y0 // BLOCK_PX, -(-box.y1 // BLOCK_PX)):
            for column in range(box.x0 // BLOCK_PX, -(-box.x1 // BLOCK_PX)):
                y, x = row * BLOCK_PX, column * BLOCK_PX
                y0, x0 = max(box.y0, y), max(box.x0, x)
                y1, x1 = min(box.y1, y + BLOCK_PX), min(box.x1, x + BLOCK_PX)
                part = block(row, column)[y0 - y : y1 - y, x0 - x : x1 - x]
                pixels[y0 - box.y0 : y1 - box.y0, x0 - box.x0 : x1 - box.x0] = part
        return pixels

    return load
