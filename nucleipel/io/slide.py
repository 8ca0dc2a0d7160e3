"""Images and slides, read by region.

A `Slide` is anything that gives pixels for a box: an Aperio SVS or a pyramidal
OME-TIFF is decoded tile by tile and never held in memory; a PNG or JPEG, which
cannot be read by region, is decoded whole. Pixels come as (H, W, C) in the
stored dtype (uint8 or uint16), C = 1 or 3.

Resolution: `mpp` is what the file says (Aperio text, OME-XML, or TIFF
resolution tags in centimetres), unless the caller knows better; two sources
that differ by more than 2 % are refused, because one of them is wrong. Slides
are read at level 0.
"""

import re
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box, reflected_indices
from nucleipel.core.intensity import IntensityRange
from nucleipel.errors import ImageError

MPP_TOLERANCE = 0.02
WHOLE_READ_LIMIT_PX = 16 * 2**20
TIFF_SUFFIXES = {".tif", ".tiff", ".svs", ".ndpi"}
RASTER_SUFFIXES = {".png", ".jpg", ".jpeg"}


class Slide:
    """An opened image: shape, channels, dtype, mpp, and `read`. Use it as a context manager."""

    def __init__(
        self, path: Path, pixels: Any, *, mpp: float | None, close: Any | None = None
    ) -> None:
        self.path = path
        self.mpp = mpp
        self._pixels = pixels
        self._close = close
        self.shape: tuple[int, int] = (int(pixels.shape[0]), int(pixels.shape[1]))
        self.channels = int(pixels.shape[2]) if pixels.ndim == 3 else 1
        self.dtype = np.dtype(pixels.dtype)

    def __enter__(self) -> "Slide":
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
        if self._close is not None:
            self._close()

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Pixels (H, W, C) of a box; where it overhangs, the image is mirrored."""
        rows = reflected_indices(box.y0, box.y1, self.shape[0])
        columns = reflected_indices(box.x0, box.x1, self.shape[1])
        cover = Box(
            int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1
        )
        try:
            pixels = np.asarray(self._pixels[cover.slices])
        except Exception as error:  # codecs raise nine different types on damaged data
            raise ImageError(
                f"{self.path}: cannot decode the pixels at {cover}: {error}; copy the file again"
            ) from error
        pixels = pixels.reshape(*cover.shape, self.channels)
        if cover != box:
            pixels = pixels[np.ix_(rows - cover.y0, columns - cover.x0)]
        return pixels

    def intensity_range(self) -> IntensityRange:
        """The slide's own normalization, from all its pixels or, if large, a fixed sample.

        The sample is a regular grid of 16 x 16 regions of 256 px; it depends on
        nothing but the slide.
        """
        height, width = self.shape
        if height * width <= WHOLE_READ_LIMIT_PX:
            return IntensityRange.of_pixels(self.read(Box.of_shape(self.shape)))
        side = 256
        regions = [
            self.read(Box(y, x, y + side, x + side).clip(self.shape)).reshape(-1, self.channels)
            for y in np.linspace(0, max(height - side, 0), 16).astype(int).tolist()
            for x in np.linspace(0, max(width - side, 0), 16).astype(int).tolist()
        ]
        return IntensityRange.of_pixels(np.concatenate(regions))

    def thumbnail(self, max_px: int) -> npt.NDArray[np.uint8]:
        """A gray or RGB picture (h, w, 3) uint8, at most `max_px` wide, shown in the slide's range.

        Each pixel is the mean of a square of `ceil(width / max_px)` px; read in
        strips, so that a large slide never lies in memory.
        """
        step = -(-self.shape[1] // max_px)
        shown = self.intensity_range()
        strip_px = step * max(1, 2**22 // (step * self.shape[1]))
        strips = [
            _block_mean(
                shown.normalize(
                    self.read(Box(y, 0, min(y + strip_px, self.shape[0]), self.shape[1]))
                ),
                step,
            )
            for y in range(0, self.shape[0], strip_px)
        ]
        picture = np.rint(np.concatenate(strips) * 255).astype(np.uint8)
        return np.broadcast_to(picture, (*picture.shape[:2], 3)).copy()


def open_slide(path: Path, *, mpp: float | None = None) -> Slide:
    """Open an image or slide; `mpp` is the user's word on its pixel size.

    Raises
    ------
    ImageError
        If the file is missing, of an unknown kind, damaged, of a pixel format
        that would be guessed at, or if its own mpp contradicts `mpp`.
    """
    slide = _open(path)
    try:
        _require_usable(slide)
        slide.mpp = _agreed_mpp(path, stated=mpp, found=slide.mpp)
    except ImageError:
        slide.close()
        raise
    return slide


def require_fit(slide: Slide, *, mpp: float | None, channels: int) -> None:
    """Check that a slide can be used at a working mpp (None: pixel for pixel) and channel count.

    Raises
    ------
    ImageError
        If its mpp is unknown or differs by more than 2 %, or if a colour image
        is to become gray.
    """
    if slide.channels > channels:
        raise ImageError(
            f"{slide.path}: is in colour, the network takes {channels} channel; convert it to gray"
            " or train with channels: 3"
        )
    if mpp is None:
        return
    if slide.mpp is None:
        raise ImageError(
            f"{slide.path}: its mpp is in neither file nor manifest; expected {mpp:g} um per"
            " pixel; add it as the manifest's mpp or with --set mpp="
        )
    if abs(slide.mpp - mpp) > MPP_TOLERANCE * mpp:
        raise ImageError(
            f"{slide.path}: has {slide.mpp:g} um per pixel, the working mpp is {mpp:g};"
            " resample the image, or use a checkpoint of its mpp"
        )


def open_annotation(path: Path) -> Slide:
    """Open an annotation: one integer instance map, 0 is background.

    Raises
    ------
    ImageError
        If the file is missing, damaged, has colour channels or holds no integers.
    """
    annotation = _open(path)
    if annotation.channels != 1 or annotation.dtype.kind not in "ui":
        annotation.close()
        raise ImageError(
            f"{path}: {annotation.channels} channel(s) of {annotation.dtype}; expected one integer"
            " channel (0 background, 1..n nuclei); export an instance map"
        )
    return annotation


def read_annotation(path: Path) -> npt.NDArray[np.integer]:
    """A whole (H, W) instance map; errors as `open_annotation`."""
    with open_annotation(path) as annotation:
        pixels: npt.NDArray[np.integer] = annotation.read(Box.of_shape(annotation.shape))[..., 0]
        return pixels


def image_stem(path: Path) -> str:
    """The file's name without its image suffix (`a.ome.tif` gives `a`)."""
    return re.sub(r"\.ome$", "", path.stem, flags=re.IGNORECASE)


def _open(path: Path) -> Slide:
    if not path.is_file():
        raise ImageError(f"{path}: no such file; check the path (and --data-root)")
    suffix = path.suffix.lower()
    if suffix not in TIFF_SUFFIXES | RASTER_SUFFIXES:
        known = " ".join(sorted(TIFF_SUFFIXES | RASTER_SUFFIXES))
        raise ImageError(f"{path}: unknown kind of image '{suffix}'; expected one of {known}")
    return _open_tiff(path) if suffix in TIFF_SUFFIXES else _open_raster(path)


def _require_usable(slide: Slide) -> None:
    if slide.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"{slide.path}: pixels are {slide.dtype}; expected uint8 or uint16; convert it"
        )
    if slide.channels not in (1, 3):
        raise ImageError(
            f"{slide.path}: {slide.channels} channels; expected 1 (gray) or 3 (RGB); convert it"
        )


def _open_raster(path: Path) -> Slide:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            if picture.mode in ("P", "RGBA", "LA"):
                layers = np.asarray(picture.convert("RGBA"))
                if layers[..., 3].min() < 255:
                    raise ImageError(f"{path}: has transparent pixels; flatten it to RGB")
                pixels = layers[..., :3]
            elif picture.mode in ("L", "RGB", "I;16", "I"):
                pixels = np.asarray(picture)
            else:
                raise ImageError(
                    f"{path}: pixel format {picture.mode}; expected gray or RGB; convert it"
                )
    except ImageError:
        raise
    except Exception as error:  # Pillow raises many types on damaged files
        raise ImageError(f"{path}: cannot be read as an image: {error}; copy it again") from error
    if pixels.dtype == np.int32:  # Pillow's "I" is how a 16-bit PNG may arrive
        pixels = pixels.astype(np.uint16) if pixels.min() >= 0 and pixels.max() < 2**16 else pixels
    return Slide(path, pixels, mpp=None)


def _open_tiff(path: Path) -> Slide:
    import tifffile

    tiff = None
    try:
        tiff = tifffile.TiffFile(path)
        return Slide(path, _tiff_pixels(path, tiff), mpp=_tiff_mpp(tiff), close=tiff.close)
    except Exception as error:  # nine types were seen on malformed TIFFs
        if tiff is not None:
            tiff.close()
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{path}: cannot be read as TIFF: {error}; copy it again") from error


def _tiff_pixels(path: Path, tiff: Any) -> Any:
    """What can be sliced to (h, w) or (h, w, C) pixels of level 0 of the first series."""
    import zarr

    level = tiff.series[0].levels[0]
    photometric = level.keyframe.photometric.name
    if photometric in ("MINISWHITE", "PALETTE", "SEPARATED", "CIELAB"):
        raise ImageError(f"{path}: photometric {photometric}; expected gray or RGB; convert it")
    if level.axes not in ("YX", "YXS", "SYX", "CYX"):
        raise ImageError(f"{path}: axes {level.axes}; expected one plane, YX or YXS; export one")
    pixels = zarr.open_array(tiff.series[0].aszarr(level=0), mode="r")
    if level.axes in ("YX", "YXS"):
        return pixels
    return np.moveaxis(np.asarray(pixels[:]), 0, -1)  # planar: no region lies in one piece


def _tiff_mpp(tiff: Any) -> float | None:
    page = tiff.series[0].keyframe
    if tiff.is_svs:
        match = re.search(r"\bMPP\s*=\s*([0-9.]+)", page.description)
        return float(match[1]) if match else None
    if tiff.is_ome:
        # read by pattern: the text comes from strangers, and an XML parser can be bombed
        pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", tiff.ome_metadata)
        fields = dict(re.findall(r'(\w+)="([^"]*)"', pixels[0])) if pixels else {}
        factor = {"µm": 1.0, "nm": 1e-3, "mm": 1e3}.get(fields.get("PhysicalSizeXUnit", "µm"))
        size = fields.get("PhysicalSizeX")
        return float(size) * factor if size and factor else None
    unit_tag, size_tag = page.tags.get("ResolutionUnit"), page.tags.get("XResolution")
    if unit_tag is None or size_tag is None or unit_tag.value != 3 or not size_tag.value[0]:
        return None  # inches are a printer's 72 dpi, not a microscope's word
    return float(1e4 * size_tag.value[1] / size_tag.value[0])


def _agreed_mpp(path: Path, *, stated: float | None, found: float | None) -> float | None:
    if stated is None or found is None:
        return stated if stated is not None else found
    if abs(stated - found) > MPP_TOLERANCE * found:
        raise ImageError(
            f"{path}: the file says {found:g} um per pixel, the manifest or config {stated:g};"
            " correct the one that is wrong"
        )
    return stated


def _block_mean(pixels: npt.NDArray[np.float32], step: int) -> npt.NDArray[np.float32]:
    height, width = (-(-length // step) * step for length in pixels.shape[:2])
    padding = ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0))
    blocks = np.pad(pixels, padding, mode="edge").reshape(
        height // step, step, width // step, step, -1
    )
    return blocks.mean(axis=(1, 3), dtype=np.float32)
