"""An image of any container: levels that can be read by region, and its metadata."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.pixel_size import PixelSizes
from nucleipel.io.slides.formats.series import Series

WHOLE_LEVEL_BYTES = 2**28
"""A level that is not stored in tiles is decoded whole, once, up to this size."""

Pixels = npt.NDArray[Any]


@dataclass(frozen=True)
class Level:
    """One level of a pyramid.

    Parameters
    ----------
    shape : (height, width)
    downsample : float
        Pixels of level 0 per pixel of this one, along an axis; 1 at level 0.
    load : callable
        From a box on the level to its decoded pixels, (h, w, C).
    """

    shape: tuple[int, int]
    downsample: float
    load: Callable[[Box], Pixels]


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """The image of a file that is read, and where its frame lies in a wider one.

    Parameters
    ----------
    series : int
        Index of the image in the file.
    as_color : bool
        Whether channels are read as the red, green and blue of one picture because
        the user said so.
    offset_px : (y, x)
        Upper left corner of the image in the frame of its scanner, of which
        QuPath, too, shows the scanned part only; px of level 0.
    translation_px : (y, x)
        Where the file puts the center of the first pixel, in px of level 0.
    scale : (y, x)
        What such a pixel measures there, in `unit`, which may be no length.
    unit : str
    """

    series: int = 0
    as_color: bool = False
    offset_px: tuple[int, int] = (0, 0)
    translation_px: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    unit: str = ""


@dataclass(frozen=True)
class StoredImage:
    """An opened file: what it holds, and how to read a region of any level of it.

    Parameters
    ----------
    path : Path
    container : str
        Name of the format, for people.
    levels : tuple of Level
        From the finest to the coarsest; at least one.
    dtype : numpy.dtype
        Of the pixels as they are read.
    channels : tuple of str
        Name of each channel; ("red", "green", "blue") for color.
    photometric : str
        What the stored values mean and what is done to them, for people.
    pixel_sizes : PixelSizes
        Every pixel size that the file states.
    series : tuple of Series
        All images of the file; of a file with one, that one or none.
    source : SourceFrame
        Which of them this is, and where it lies.
    close : callable
    """

    path: Path
    container: str
    levels: tuple[Level, ...]
    dtype: np.dtype[Any]
    channels: tuple[str, ...]
    photometric: str
    pixel_sizes: PixelSizes = field(default_factory=PixelSizes)
    series: tuple[Series, ...] = ()
    source: SourceFrame = SourceFrame()
    close: Callable[[], None] = field(default=lambda: None)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of level 0."""
        return self.levels[0].shape

    @property
    def is_color(self) -> bool:
        """Return whether the channels are the red, green and blue of one picture."""
        return self.channels == RGB

    def read(self, level: int, box: Box) -> Pixels:
        """Pixels (h, w, C) of a box that lies on a level.

        Raises
        ------
        ImageError
            If they cannot be decoded.
        """
        try:
            pixels = self.levels[level].load(box)
        except ImageError:
            raise
        except Exception as error:  # codecs raise nine different types on damaged data
            raise ImageError(
                f"{self.path}: cannot decode the pixels of level {level} at {box}:"
                f" {one_line(error)}; copy the file again"
            ) from error
        return pixels.reshape(*box.shape, len(self.channels)).astype(self.dtype, copy=False)


RGB = ("red", "green", "blue")
GRAY = ("gray",)


def downsample_of(shape: tuple[int, int], of: tuple[int, int]) -> float:
    """Downsample of a level of shape (height, width) under a level 0.

    A whole number where sides were divided and rounded in any way (3567 / 1783
    is 2), else the mean of the two ratios.
    """
    ratios = [whole / part for whole, part in zip(of, shape, strict=True)]
    nearest = max(1, round(sum(ratios) / 2))
    if all(abs(whole / nearest - part) < 1 for whole, part in zip(of, shape, strict=True)):
        return float(nearest)
    return sum(ratios) / 2


def one_line(error: BaseException) -> str:
    """An exception's text without line breaks, its type where it has no text."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def on_white(pixels: Pixels, alpha: Pixels, *, premultiplied: bool = False) -> Pixels:
    """Color (h, w, 3) over a white ground, alpha (h, w, 1); unsigned integers of one dtype.

    Opaque pixels keep their exact values.
    """
    top = int(np.iinfo(pixels.dtype).max)
    if int(alpha.min(initial=top)) == top:
        return pixels
    color, cover = pixels.astype(np.int64), alpha.astype(np.int64)
    shown = color if premultiplied else (color * cover + top // 2) // top
    return np.clip(shown + top - cover, 0, top).astype(pixels.dtype)
