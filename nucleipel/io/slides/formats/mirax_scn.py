"""Slides that OpenSlide reads and tifffile does not: MIRAX, Leica, Ventana, Sakura.

OpenSlide is LGPL, and comes with the extra `nucleipel[openslide]` only. It
joins what a scanner took in overlapping pieces, which lie at fractions of a
pixel: levels are therefore read in blocks. Of a slide that was scanned in part
(`openslide.bounds-*`) that part is the image, as QuPath shows it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.block_cache import by_blocks
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
    readers = [_reader(slide, level, bounds) for level in range(len(shapes))]
    return StoredImage(
        path=path,
        container=f"{properties['openslide.vendor']}, OpenSlide {openslide.__library_version__}"
        + (f", scanned part at y {bounds.y0}, x {bounds.x0}" if cropped else ""),
        levels=tuple(
            Level(shape, downsample_of(shape, shapes[0]), by_blocks(read, shape))
            for shape, read in zip(shapes, readers, strict=True)
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


def _reader(slide: Any, level: int, bounds: Box) -> Callable[[Box], Pixels]:
    downsample = slide.level_downsamples[level]

    def read(box: Box) -> Pixels:
        corner = (bounds.x0 + round(box.x0 * downsample), bounds.y0 + round(box.y0 * downsample))
        layers = np.asarray(slide.read_region(corner, level, (box.shape[1], box.shape[0])))
        return on_white(layers[..., :3], layers[..., 3:])

    return read
