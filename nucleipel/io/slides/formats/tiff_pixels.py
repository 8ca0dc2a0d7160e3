"""From the samples that a TIFF stores to gray, RGB or channels, or why that would be a guess."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.stored_image import GRAY, RGB, Pixels, on_white

DECODED_TO_RGB = ("JPEG", "OJPEG", "ALT_JPEG", "APERIO_JP2000_RGB", "JPEG_LOSSY", "WEBP")
REFUSED = {
    "SEPARATED": "CMYK",
    "CIELAB": "CIELAB",
    "ICCLAB": "ICCLAB",
    "ITULAB": "ITULAB",
    "MASK": "a transparency mask",
    "CFA": "a camera's raw mosaic",
    "LOGL": "LogL",
    "LOGLUV": "LogLuv",
}


@dataclass(frozen=True)
class Decoder:
    """The steps from the samples of a series to pixels.

    Parameters
    ----------
    decode : callable
        From stored (h, w, samples) to pixels (h, w, C).
    meaning : str
        What is done, for people.
    channels : tuple of str, optional
        Names of the channels; without it these are `planes` of gray.
    planes : int
    dtype : numpy.dtype, optional
        Of the pixels; without it that of the samples.
    """

    decode: Callable[[Pixels], Pixels]
    meaning: str
    channels: tuple[str, ...] | None = None
    planes: int = 1
    dtype: np.dtype[Any] | None = None


def decoder_of(path: Path, series: Any, *, ids: bool = False) -> Decoder:
    """Choose how the samples of a series (tifffile's) are read.

    With `ids` they are the ids of an instance map: what the file says on how
    they are shown, a color table or white for 0, does not change them.

    Raises
    ------
    ImageError
        If that would be a guess.
    """
    page = series.keyframe
    photometric, compression = page.photometric.name, page.compression.name
    sizes = dict(zip(series.axes, series.shape, strict=True))
    samples, planes = sizes.get("S", 1), sizes.get("C", 1)
    if page.bitspersample == 1:
        raise ImageError(f"{path}: 1 bit a pixel; expected 8 or 16 bit gray or RGB; convert it")
    if photometric in REFUSED:
        raise ImageError(f"{path}: {REFUSED[photometric]}; expected gray or RGB; convert it to RGB")
    if photometric == "PALETTE" and samples * planes == 1:
        return Decoder(_same, "ids, with a color table", GRAY) if ids else _of_palette(page)
    if photometric in ("MINISBLACK", "MINISWHITE") and len(page.extrasamples) == samples - 1 > 0:
        if any(int(extra) in (1, 2) for extra in page.extrasamples):
            raise ImageError(f"{path}: gray with an alpha channel; remove the alpha channel")
        planes, samples = samples, 1
    if photometric == "MINISWHITE" and samples == 1 and not ids:
        top = 2**page.bitspersample - 1
        return Decoder(lambda pixels: top - pixels, "MINISWHITE, inverted", planes=planes)
    if photometric in ("MINISBLACK", "MINISWHITE") and samples == 1:
        return Decoder(_same, "gray", planes=planes)
    if photometric == "YCBCR" and compression not in DECODED_TO_RGB:
        raise ImageError(f"{path}: YCbCr under {compression}; convert it to RGB")
    if photometric in ("RGB", "YCBCR") and planes == 1:
        return _of_color(path, page, samples)
    raise ImageError(
        f"{path}: photometric {photometric} with {samples} samples in {planes} planes; expected"
        " gray, RGB or channels of gray; convert it"
    )


def _same(pixels: Pixels) -> Pixels:
    return pixels


def _of_color(path: Path, page: Any, samples: int) -> Decoder:
    extra = tuple(int(kind) for kind in page.extrasamples)
    if samples == 3 and page.compression.name == "APERIO_JP2000_YCBC":
        # whatever the photometric tag says: JPEG's YCbCr, which the codec does not transform
        return Decoder(_ycbcr_to_rgb, "YCbCr (Aperio 33003), converted to RGB", RGB)
    if samples == 3:
        return Decoder(_same, "RGB", RGB)
    if samples == 4 and extra in ((1,), (2,)):
        premultiplied = extra == (1,)
        return Decoder(
            lambda pixels: on_white(pixels[..., :3], pixels[..., 3:], premultiplied=premultiplied),
            "RGB with alpha, laid on white",
            RGB,
        )
    raise ImageError(
        f"{path}: RGB with {samples} channels, of which {samples - 3} of unknown meaning;"
        " export 3, or alpha marked as such"
    )


def _ycbcr_to_rgb(pixels: Pixels) -> Pixels:
    return cv2.cvtColor(np.ascontiguousarray(pixels[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)


def _of_palette(page: Any) -> Decoder:
    colors = np.asarray(page.colormap).T  # (entries, 3), 16 bits a color by the standard
    if colors.max() > 255:
        colors = colors >> 8
    table = colors.astype(np.uint8)
    return Decoder(
        lambda pixels: table[pixels[..., 0]],
        "palette, read as its colors",
        RGB,
        dtype=np.dtype(np.uint8),
    )
