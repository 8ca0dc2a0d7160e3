"""Images and slides, read by region at the working resolution.

A `Slide` gives the pixels of any box of the working frame, (H, W, C) in the
stored dtype (uint8 or uint16), and decodes no more than it needs. The
containers are in `nucleipel.io.slides.formats`; how mpp and levels play together is
described in `nucleipel.io.slides.resolution`; an `Annotation` is read in the same frame.
"""

import re
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box, reflected_indices
from nucleipel.core.intensity import OF_TISSUE, IntensityRange
from nucleipel.core.resample import centers, resample, taps
from nucleipel.core.tissue_detection import is_on_bright_ground
from nucleipel.errors import ImageError
from nucleipel.io.slides.formats import StoredImage, open_image
from nucleipel.io.slides.formats.channels import as_rgb
from nucleipel.io.slides.formats.suffixes import ZARR_SUFFIX
from nucleipel.io.slides.intensity_range import measure_range
from nucleipel.io.slides.resolution import Resolution, agreed_mpp, at_scale, choose_resolution
from nucleipel.io.slides.slide_tissue import FoundTissue, cell_px, find_tissue

BRIGHTNESS_PX = 512
DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras have."""
NEARLY_FULL, LIGHTEST_PERCENTILE = 0.7, 99.9
ALL_AS_RGB = "rgb"
BAND_PX = 2**24
"""Resampling reads at most about this many stored pixels at a time."""


class _Opened:
    """An opened file; use it as a context manager."""

    def __init__(self, image: StoredImage, resolution: Resolution) -> None:
        self.image = image
        self.resolution = resolution
        self.path = image.path
        self.shape = resolution.shape

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.image.close()


class Slide(_Opened):
    """An image in its working frame: `shape`, `channels`, `dtype`, `mpp`, and `read`.

    `channel` is the index of the only channel that is read, None for all.
    """

    def __init__(
        self, image: StoredImage, resolution: Resolution, *, channel: int | None = None
    ) -> None:
        super().__init__(image, resolution)
        self.mpp = resolution.mpp
        self.dtype = image.dtype
        self.channel = channel
        self.channels = len(image.channels) if channel is None else 1
        self.range_rule = OF_TISSUE
        self._intensity: IntensityRange | None = None
        self._tissue: FoundTissue | None = None
        self._small_picture: npt.NDArray[Any] | None = None

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Pixels (H, W, C) of a box; where it overhangs, the image is mirrored."""
        return read_mirrored(box, self.shape, self._read)

    def _read(self, box: Box) -> npt.NDArray[Any]:
        resolution = self.resolution
        # a coarser frame counts a last pixel that the edge cuts; a stored level may lack it
        if resolution.level_ratio == 1 and resolution.shape == resolution.level_shape:
            return self._stored(box)
        columns = taps(
            box.x0, box.x1, ratio=resolution.level_ratio, length=resolution.level_shape[1]
        )
        width = columns.stop - columns.start
        band = max(1, int(BAND_PX / width / max(resolution.level_ratio, 1)))
        parts = []
        for y0 in range(box.y0, box.y1, band):
            y1 = min(y0 + band, box.y1)
            rows = taps(y0, y1, ratio=resolution.level_ratio, length=resolution.level_shape[0])
            stored = self._stored(Box(rows.start, columns.start, rows.stop, columns.stop))
            parts.append(resample(stored, rows, columns))
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _stored(self, box: Box) -> npt.NDArray[Any]:
        pixels = self.image.read(self.resolution.level, box)
        return pixels if self.channel is None else pixels[..., self.channel : self.channel + 1]

    def intensity_range(self) -> IntensityRange:
        """The slide's own normalization: percentiles of its pixels where tissue is.

        It depends on nothing but the slide, the working mpp and the `range_rule`.
        """
        if self.range_rule.fixed is not None:
            return self.range_rule.fixed
        if self._intensity is None:
            percentiles = self.range_rule.percentiles
            self._intensity = measure_range(self, self.tissue(), percentiles=percentiles)
        return self._intensity

    def tissue(self) -> FoundTissue:
        """The slide's ground, and where on it tissue lies."""
        if self._tissue is None:
            self._tissue = find_tissue(self, step_px=cell_px(self))
        return self._tissue

    @property
    def is_color(self) -> bool:
        """Return whether its channels are the red, green and blue of an image in color."""
        return self.image.is_color and self.channels == len(self.image.channels)

    def thumbnail(self, max_px: int) -> npt.NDArray[np.uint8]:
        """An RGB picture (h, w, 3) uint8, at most `max_px` wide, in the `shown_range`.

        Each pixel is the mean of a square of `ceil(width / max_px)` working
        pixels, from the level of the pyramid that suits.
        """
        small = self._small(max_px)
        return as_picture(small.read(Box.of_shape(small.shape)), self.shown_range())

    def shown_range(self) -> IntensityRange:
        """What pictures are shown in: of stained tissue black to white, which keeps its colors."""
        if not self.is_stained():
            return self.intensity_range()
        return IntensityRange((0.0,) * self.channels, (float(self.white()),) * self.channels)

    def white(self) -> int:
        """The stored value of white, of an image in transmitted light.

        The full scale of 8, 10, 12, 14 or 16 bits, if the lightest pixels have `NEARLY_FULL` of
        it or more; otherwise what they have. 12 bits may stand in 16.
        """
        lightest = float(np.percentile(self._brightness().max(axis=-1), LIGHTEST_PERCENTILE))
        for bits in DEPTHS:
            full = 2**bits - 1
            if NEARLY_FULL * full <= lightest <= full:
                return int(full)
        return max(1, round(lightest))

    def of_channel(self, channel: int | None) -> "Slide":
        """Give the opened file and frame with only one channel (None: with all)."""
        return Slide(self.image, self.resolution, channel=channel)

    def at_scale(self, scale: float) -> "Slide":
        """See the slide, now pixel for pixel, with `scale` pixels along each pixel, at most 2."""
        if scale == 1:
            return self
        source_mpp = self.resolution.source_mpp
        slide = Slide(
            self.image,
            at_scale(self.image, scale, source_mpp=source_mpp),
            channel=self.channel,
        )
        slide.range_rule = self.range_rule
        return slide

    def is_stained(self) -> bool:
        """Return whether it is a color image of stains in transmitted light, not of fluorescence.

        Its ground is bright (`is_on_bright_ground`), and a hundredth or more of its tissue has a
        hue, however much glass lies around.
        """
        if not self.is_color:
            return False
        bright = is_on_bright_ground(self._brightness(), is_color=True)
        return bright and self.tissue().colored >= 0.01

    def _brightness(self) -> npt.NDArray[Any]:
        """A small picture (h, w, C) in stored values, read once."""
        if self._small_picture is None:
            small = self._small(BRIGHTNESS_PX)
            self._small_picture = small.read(Box.of_shape(small.shape))
        return self._small_picture

    def _small(self, max_px: int) -> "Slide":
        step = -(-self.shape[1] // max_px)
        return self if step == 1 else self.coarse(step)

    def coarse(self, step: int, *, from_px: int = 1) -> "Slide":
        """See the slide in pixels `step` times as wide, the last ones cut by the edge.

        Each is a mean of at least `from_px` x `from_px` stored pixels, where a level has them.
        """
        resolution = self.resolution.coarser(self.image, step, from_px=from_px)
        return Slide(self.image, resolution, channel=self.channel)


class Annotation(_Opened):
    """An instance map in the working frame of its image: ids at the centers of working pixels."""

    def read(self, box: Box) -> npt.NDArray[np.integer]:
        """Ids (H, W) of a box; where it overhangs, the map is mirrored.

        Raises
        ------
        ImageError
            If an id is negative or too large, or the map cannot be decoded.
        """
        return read_mirrored(box, self.shape, self._read)

    def _read(self, box: Box) -> npt.NDArray[np.integer]:
        ratio, (height, width) = self.resolution.ratio, self.image.shape
        rows = centers(box.y0, box.y1, ratio=ratio, length=height)
        columns = centers(box.x0, box.x1, ratio=ratio, length=width)
        cover = Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        ids = self.image.read(0, cover)[..., 0]
        if ids.dtype.kind == "i" and ids.min(initial=0) < 0:
            raise ImageError(
                f"{self.path}: holds the negative id {ids.min()}; expected 0 for background and"
                " 1..n for nuclei"
            )
        if ids.dtype.itemsize > 4 and ids.max(initial=0) >= 2**32:
            raise ImageError(
                f"{self.path}: holds the id {ids.max()}; expected ids below 2^32: number them anew,"
                " with nucleipel import labels"
            )
        return ids if cover == box else ids[np.ix_(rows - cover.y0, columns - cover.x0)]


def open_slide(
    path: Path,
    *,
    mpp: float | None = None,
    at_mpp: float | None = None,
    enlarge: bool = False,
    channel: int | str | None = None,
    series: int | str | None = None,
) -> Slide:
    """Open an image or slide, to be read at `at_mpp` um per pixel (None: pixel for pixel).

    `mpp` is the user's word on the size of its pixels; `channel` the index
    (from 0) or name of the only channel that is read, or "rgb" for three of them as one
    picture in color; `enlarge` allows images coarser than `at_mpp`, up to 2x; `series` is
    the index or name of one of the images that the file holds.

    Raises
    ------
    ImageError
        If the file is missing, of an unknown kind, damaged or of a pixel format
        that would be guessed at; if its mpp is unknown, contradicted or too
        coarse; if there is no such channel.
    """
    return frame_image(
        open_image(path, series=series), mpp=mpp, at_mpp=at_mpp, enlarge=enlarge, channel=channel
    )


def frame_image(
    image: StoredImage,
    *,
    mpp: float | None = None,
    at_mpp: float | None = None,
    enlarge: bool = False,
    channel: int | str | None = None,
) -> Slide:
    """An opened image as a slide; parameters and errors as `open_slide`, which closes it then."""
    try:
        _require_usable(image)
        if isinstance(channel, str) and _is_rgb(image, channel):
            image, channel = as_rgb(image), None
        chosen = None if channel is None else _channel_index(image, channel)
        source_mpp = agreed_mpp(image, stated=mpp)
        resolution = choose_resolution(
            image, source_mpp=source_mpp, working_mpp=at_mpp, enlarge=enlarge
        )
    except ImageError:
        image.close()
        raise
    return Slide(image, resolution, channel=chosen)


def require_channels(slide: Slide, channels: int) -> None:
    """Check that a slide can become a network's input of so many channels: gray is repeated.

    Raises
    ------
    ImageError
        If a color image is to become gray, or one of many channels was not chosen.
    """
    if slide.channels in (1, channels) and (slide.channels != 3 or slide.image.is_color):
        return
    names = ", ".join(f"{i} ({name})" for i, name in enumerate(slide.image.channels))
    kind = "is in color" if slide.image.is_color else f"has {slide.channels} channels"
    color = channels == 3 == slide.channels and not slide.image.is_color
    together = ", or all three as color with --channel rgb" if color else ""
    raise ImageError(
        f"{slide.path}: {kind}, the network takes {channels}; choose one with --channel:"
        f" {names}{together}"
    )


def open_annotation(path: Path, *, resolution: Resolution | None = None) -> Annotation:
    """Open an annotation: one integer instance map at level 0 of its image, 0 is background.

    It is read in the working frame of `resolution`, that of its image; without
    one, pixel for pixel.

    Raises
    ------
    ImageError
        If the file is missing, damaged, has color channels, holds no integers,
        or was compressed as a photograph.
    """
    image = open_image(path, ids=True)
    if len(image.channels) != 1 or image.dtype.kind not in "ui":
        image.close()
        raise ImageError(
            f"{path}: {len(image.channels)} channel(s) of {image.dtype}; expected one integer"
            " channel (0 background, 1..n nuclei); export an instance map, or convert the labels"
            " with nucleipel import"
        )
    if "JPEG" in image.container:
        image.close()
        raise ImageError(f"{path}: JPEG changes ids; export the instance map as TIFF or PNG")
    if resolution is None:
        resolution = choose_resolution(image, source_mpp=None, working_mpp=None, enlarge=False)
    return Annotation(image, resolution)


def read_annotation(path: Path) -> npt.NDArray[np.integer]:
    """A whole (H, W) instance map; errors as `open_annotation`."""
    with open_annotation(path) as annotation:
        return annotation.read(Box.of_shape(annotation.shape))


def as_picture(pixels: npt.NDArray[Any], intensity: IntensityRange) -> npt.NDArray[np.uint8]:
    """Gray or RGB pixels (h, w, 1 or 3) as RGB uint8 (h, w, 3), shown in a range of intensities."""
    picture = np.rint(intensity.normalize(pixels) * 255).astype(np.uint8)
    return np.broadcast_to(picture, (*picture.shape[:2], 3)).copy()


def image_stem(path: Path) -> str:
    """The file's name without its image suffix (`a.ome.tif` gives `a`).

    Of an image inside a zarr folder, with the names on the way: `a.zarr/B/1/0` gives `a_B_1_0`.
    """
    for folder in path.parents:
        if folder.suffix.lower() == ZARR_SUFFIX:
            return "_".join((image_stem(folder), *path.relative_to(folder).parts))
    return re.sub(r"\.ome$", "", path.stem, flags=re.IGNORECASE)


def read_mirrored(box: Box, shape: tuple[int, int], read: Any) -> npt.NDArray[Any]:
    """Read a box that may overhang an image of shape (height, width), which is mirrored there.

    `read` gives the pixels of boxes that lie on the image.
    """
    rows = reflected_indices(box.y0, box.y1, shape[0])
    columns = reflected_indices(box.x0, box.x1, shape[1])
    cover = Box(int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
    pixels: npt.NDArray[Any] = read(cover)
    return pixels if cover == box else pixels[np.ix_(rows - cover.y0, columns - cover.x0)]


def _require_usable(image: StoredImage) -> None:
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"{image.path}: pixels are {image.dtype}; expected uint8 or uint16; convert it"
        )


def _is_rgb(image: StoredImage, channel: str) -> bool:
    """Return whether a wish means three channels together: "rgb", and no channel's own name."""
    return channel.casefold() == ALL_AS_RGB and channel not in image.channels


def _channel_index(image: StoredImage, channel: int | str) -> int:
    if isinstance(channel, int):
        matches = [channel] if 0 <= channel < len(image.channels) else []
    else:
        matches = [i for i, name in enumerate(image.channels) if name == channel] or [
            i for i, name in enumerate(image.channels) if name.casefold() == channel.casefold()
        ]
    if len(matches) != 1:
        names = ", ".join(f"{i} ({name})" for i, name in enumerate(image.channels))
        matching = "two channels" if matches else "no channel"
        raise ImageError(f"{image.path}: has {matching} '{channel}'; it has {names}")
    return matches[0]
