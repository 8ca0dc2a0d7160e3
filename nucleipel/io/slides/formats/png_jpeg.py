"""PNG and JPEG: decoded whole, since neither can be read by region.

Palettes become their colors, unless the pixels are the ids of an instance map;
color with transparency is laid on white, as viewers show it.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.orientation import require_upright
from nucleipel.io.slides.formats.series import Series, choose_series
from nucleipel.io.slides.formats.stored_image import GRAY, RGB, Level, StoredImage, on_white

ORIENTATION = 0x0112
LARGEST_PX = 2**27
"""11,585 x 11,585 px: anything larger belongs in a tiled file, and Pillow stops not far above."""


def open_raster(path: Path, *, series: int | str | None = None, ids: bool = False) -> StoredImage:
    """Decode a PNG or JPEG; parameters and errors as `open_image`."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # LARGEST_PX is the rule
        try:
            with Image.open(path, formats=("PNG", "JPEG")) as picture:
                _require_size(path, picture.size)
                require_upright(path, picture.getexif().get(ORIENTATION), "its EXIF orientation")
                deep = picture.format == "PNG" and picture.mode in ("RGB", "RGBA", "LA")
                deep = deep and _png_bits(path) == 16
                pixels, photometric = _decode_deep(path) if deep else _decode(path, picture, ids)
                container = str(picture.format)
        except Image.DecompressionBombError as error:
            raise ImageError(_too_large(path, "more pixels than memory should hold")) from error
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    choose_series(path, [Series("", (pixels.shape[0], pixels.shape[1]))], series)
    return StoredImage(
        path=path,
        container=container,
        levels=(Level((pixels.shape[0], pixels.shape[1]), 1.0, lambda box: pixels[box.slices]),),
        dtype=pixels.dtype,
        channels=RGB if pixels.shape[2] == 3 else GRAY,
        photometric=photometric,
    )


def _require_size(path: Path, size: tuple[int, int]) -> None:
    if size[0] * size[1] > LARGEST_PX:
        raise ImageError(_too_large(path, f"{size[1]} x {size[0]} px"))


def _too_large(path: Path, what: str) -> str:
    return (
        f"{path}: {what}; a PNG or JPEG cannot be read by region, at most {LARGEST_PX} px are"
        " taken; convert it to a tiled TIFF"
    )


def _png_bits(path: Path) -> int:
    """Bits a sample, which stand in byte 24 of every PNG."""
    with path.open("rb") as stream:
        return stream.read(25)[24]


def _decode_deep(path: Path) -> tuple[npt.NDArray[Any], str]:
    """A PNG of 16 bits a color, of which Pillow would drop the low byte."""
    import imagecodecs

    pixels = np.asarray(imagecodecs.png_decode(path.read_bytes()))
    if pixels.shape[2] == 4:
        return on_white(pixels[..., :3], pixels[..., 3:]), "RGB with alpha, laid on white"
    if pixels.shape[2] == 2:
        raise ImageError(f"{path}: gray with an alpha channel; remove the alpha channel")
    return pixels, "RGB"


def _decode(path: Path, picture: Any, ids: bool) -> tuple[npt.NDArray[Any], str]:
    mode = picture.mode
    if mode in ("L", "RGB"):
        return np.asarray(picture), "gray" if mode == "L" else "RGB"
    if mode == "P" and ids:
        return np.asarray(picture), "ids, with a color table"
    if mode == "P":
        layers = np.asarray(picture.convert("RGBA"))
        return on_white(layers[..., :3], layers[..., 3:]), "palette, read as its colors"
    if mode == "RGBA":
        layers = np.asarray(picture)
        return on_white(layers[..., :3], layers[..., 3:]), "RGB with alpha, laid on white"
    if mode == "LA":
        layers = np.asarray(picture)
        if layers[..., 1].min() < 255:
            raise ImageError(f"{path}: gray with transparent pixels; remove the alpha channel")
        return layers[..., 0], "gray, alpha opaque"
    if mode in ("I;16", "I;16B", "I"):  # "I" is how a 16-bit PNG may arrive
        pixels = np.asarray(picture)
        if pixels.min() >= 0 and pixels.max() < 2**16:
            return pixels.astype(np.uint16), "gray"
    name = {"1": "1 bit a pixel", "CMYK": "CMYK"}.get(mode, mode)
    raise ImageError(f"{path}: pixel format {name}; expected gray or RGB; convert it")
