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
from nucleipel.io.slides.formats.pixel_size import PixelSizes, stated_size
from nucleipel.io.slides.formats.series import Series, choose_series
from nucleipel.io.slides.formats.stored_image import (
    RGB,
    Level,
    Pixels,
    SourceFrame,
    StoredImage,
    downsample_of,
    on_white,
)

BLOCK_PX = 1024
BLOCKS_KEPT = 16


def open_through_openslide(
    path: Path, *, series: int | str | None = None, ids: bool = False
) -> StoredImage:
    """Open a slide with OpenSlide; parameters and errors as `open_image`.

    And if OpenSlide is not installed.
    """
    try:
        import openslide
    except ImportError as error:
        raise ImageError(
            f"{path}: {path.suffix} is read by OpenSlide, which is not installed;"
            " pip install 'nucleipel[openslide]'"
        ) from error
    slide = openslide.OpenSlide(path)
    properties = slide.properties
    bounds = _bounds(properties, slide.dimensions)
    cropped = bounds != Box(0, 0, slide.dimensions[1], slide.dimensions[0])
    shapes = [(height, width) for width, height in slide.level_dimensions]
    if cropped:
        shapes = [_part_of_level(bounds, downsample) for downsample in slide.level_downsamples]
    choose_series(path, [Series("", shapes[0])], series)
    return StoredImage(
        path=path,
        container=f"{properties['openslide.vendor']}, OpenSlide {openslide.__library_version__}"
        + (f", scanned part at y {bounds.y0}, x {bounds.x0}" if cropped else ""),
        levels=tuple(
            Level(shape, downsample_of(shape, shapes[0]), _loader(slide, index, shape, bounds))
            for index, shape in enumerate(shapes)
        ),
        dtype=np.dtype(np.uint8),
        channels=RGB,
        photometric="RGB, what was not scanned is white",
        pixel_sizes=_pixel_sizes(properties),
        source=SourceFrame(offset_px=(bounds.y0, bounds.x0)),
        close=slide.close,
    )


def _bounds(properties: Any, dimensions: tuple[int, int]) -> Box:
    """The scanned part of a slide, px of level 0; all of it where the file names none."""
    whole = Box(0, 0, dimensions[1], dimensions[0])
    names = (f"openslide.bounds-{name}" for name in ("x", "y", "width", "height"))
    values = [properties.get(name) for name in names]
    if not all(value is not None and value.isdecimal() for value in values):
        return whole
    x, y, width, height = map(int, values)
    part = Box(y, x, y + height, x + width).clip((whole.y1, whole.x1))
    return part if part.y0 < part.y1 and part.x0 < part.x1 else whole


def _part_of_level(bounds: Box, downsample: float) -> tuple[int, int]:
    """(height, width) of the scanned part on a level: whole pixels of it, at least one."""
    height, width = (max(1, int(length / downsample + 1e-6)) for length in bounds.shape)
    return height, width


def _pixel_sizes(properties: Any) -> PixelSizes:
    y, x = (properties.get(f"openslide.mpp-{axis}") for axis in "yx")
    if y is None or x is None:
        return PixelSizes()
    return stated_size(y, x, ("um", "um"), where="OpenSlide")


def _loader(slide: Any, level: int, shape: tuple[int, int], bounds: Box) -> Callable[[Box], Pixels]:
    height, width = shape
    downsample = slide.level_downsamples[level]

    @lru_cache(maxsize=BLOCKS_KEPT)
    def block(row: int, column: int) -> Pixels:
        y, x = row * BLOCK_PX, column * BLOCK_PX
        size = (min(BLOCK_PX, width - x), min(BLOCK_PX, height - y))
        corner = (bounds.x0 + round(x * downsample), bounds.y0 + round(y * downsample))
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
