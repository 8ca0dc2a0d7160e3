"""A slide as Dask arrays, one a level, for viewers; pixels are read when they are needed."""

from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.geometry import Box
from nucleipel.errors import MissingPackageError
from nucleipel.io.slides.slide import Slide, open_slide

CHUNK_PX = 1024
SMALLEST_PX = 1024
"""Levels are halved until one is no larger."""


def lazy_pyramid(path: Path) -> tuple[list[Any], float | None, bool]:
    """Open a slide as levels, each half as large as the one before it.

    Returns
    -------
    levels : list of (H, W, C) dask arrays
        In the stored dtype.
    mpp : float or None
        Um per pixel of the first level.
    is_color : bool
        Whether the channels are red, green and blue.

    Raises
    ------
    ImageError
        As `open_slide`.
    MissingPackageError
        If Dask is not installed.
    """
    slide = open_slide(path)
    levels, step = [_lazy(slide)], 2
    while max(levels[-1].shape[:2]) > SMALLEST_PX:
        levels.append(_lazy(slide.coarse(step)))
        step *= 2
    return levels, slide.mpp, slide.is_color


def _lazy(slide: Slide) -> Any:
    try:
        import dask.array as da
    except ImportError as error:
        raise MissingPackageError(
            "slides as layers need Dask: pip install 'nucleipel[napari]'"
        ) from error
    return da.from_array(
        _Sliced(slide),
        chunks=(CHUNK_PX, CHUNK_PX, slide.channels),
        name=False,  # the same file may change: no name from its content
        meta=np.empty((0, 0, 0), slide.dtype),
    )


class _Sliced:
    """A slide that is read by slices, as `dask.array.from_array` wants it."""

    def __init__(self, slide: Slide) -> None:
        self._slide = slide
        self.shape = (*slide.shape, slide.channels)
        self.dtype = np.dtype(slide.dtype)
        self.ndim = 3

    def __getitem__(self, index: Any) -> Any:
        rows, columns, channels = index
        pixels = self._slide.read(Box(rows.start, columns.start, rows.stop, columns.stop))
        return pixels[..., channels]
