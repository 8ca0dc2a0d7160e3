"""TIFF and its relatives: SVS, NDPI, OME-TIFF, BigTIFF; tiled or striped, with or without pyramid.

The image is the first series of the file, its levels as tifffile finds them.
What would be black or wrong without a word is refused before anything is
decoded: missing or cut tiles, stacks of planes, colour spaces that nobody
converts. An orientation tag is not applied.
"""

import logging
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.stored_image import (
    GRAY,
    RGB,
    WHOLE_LEVEL_BYTES,
    Level,
    Pixels,
    StoredImage,
    downsample_of,
    on_white,
)
from nucleipel.io.slides.formats.tiff_mpp import found_mpp, ome_channels

LARGEST_CHUNK_BYTES = 2**30
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

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its faults are told by ours


def open_tiff(path: Path) -> StoredImage:
    """Open a TIFF; errors as `open_image`."""
    import tifffile

    tiff = tifffile.TiffFile(path)
    try:
        _require_last_page(path, tiff)
        return _read_header(path, tiff)
    except BaseException:
        tiff.close()
        raise


def _require_last_page(path: Path, tiff: Any) -> None:
    """Pages that lead back to an earlier one: tifffile would gather them for ever."""
    seen: set[int] = set()
    for page in tiff.pages:
        if page.offset in seen:
            raise ImageError(f"{path}: its pages lead round in a loop; export the image again")
        seen.add(page.offset)


def _read_header(path: Path, tiff: Any) -> StoredImage:
    if not tiff.series or 0 in tiff.series[0].shape:
        raise ImageError(f"{path}: holds no image of at least 1 x 1 px; copy it again")
    series = tiff.series[0]
    page = series.keyframe
    _require_one_plane(path, series)
    decode, channels, photometric = _decoder(path, page, tiff)
    for level in series.levels:
        _require_whole(path, level, size=tiff.filehandle.size)
    shapes = [_shape(level) for level in series.levels]
    levels = tuple(
        Level(shape, downsample_of(shape, shapes[0]), _loader(series, index, decode))
        for index, shape in enumerate(shapes)
    )
    colour = page.photometric.name == "PALETTE"
    return StoredImage(
        path=path,
        container=_container(tiff, page),
        levels=levels,
        dtype=np.dtype(np.uint8) if colour else np.dtype(series.dtype),
        channels=channels,
        photometric=photometric,
        mpp_found=found_mpp(tiff, page),
        close=tiff.close,
    )


def _shape(level: Any) -> tuple[int, int]:
    sizes = dict(zip(level.axes, level.shape, strict=True))
    return sizes["Y"], sizes["X"]


def _require_one_plane(path: Path, series: Any) -> None:
    for level in series.levels:
        axes = "".join(
            axis for axis, n in zip(level.axes, level.shape, strict=True) if n > 1 or axis in "YX"
        )
        if axes not in ("YX", "YXS", "SYX", "YXC", "CYX"):
            shape = " x ".join(map(str, level.shape))
            raise ImageError(
                f"{path}: axes {level.axes} ({shape}): a stack of planes, or of unknown meaning;"
                " expected one plane (YX, YXS) or named channels (CYX); export one plane"
            )


def _decoder(
    path: Path, page: Any, tiff: Any
) -> tuple[Callable[[Pixels], Pixels], tuple[str, ...], str]:
    """From stored (h, w, samples) to pixels (h, w, C); the channels' names; what is done, in words.

    Raises
    ------
    ImageError
        If that would be a guess.
    """
    photometric, compression = page.photometric.name, page.compression.name
    sizes = dict(zip(tiff.series[0].axes, tiff.series[0].shape, strict=True))
    samples, planes = sizes.get("S", 1), sizes.get("C", 1)
    if page.bitspersample == 1:
        raise ImageError(f"{path}: 1 bit a pixel; expected 8 or 16 bit gray or RGB; convert it")
    if photometric in REFUSED:
        raise ImageError(f"{path}: {REFUSED[photometric]}; expected gray or RGB; convert it to RGB")
    if photometric == "PALETTE" and samples * planes == 1:
        return _palette_decoder(page), RGB, "palette, read as its colours"
    if photometric in ("MINISBLACK", "MINISWHITE") and len(page.extrasamples) == samples - 1 > 0:
        if any(int(extra) in (1, 2) for extra in page.extrasamples):
            raise ImageError(f"{path}: gray with an alpha channel; remove the alpha channel")
        planes, samples = samples, 1
    if photometric == "MINISWHITE" and samples == 1:
        top = 2**page.bitspersample - 1
        names = _channel_names(tiff, planes)
        return (lambda pixels: top - pixels), names, "MINISWHITE, inverted"
    if photometric == "MINISBLACK" and samples == 1:
        return (lambda pixels: pixels), _channel_names(tiff, planes), "gray"
    if photometric == "YCBCR" and compression not in DECODED_TO_RGB:
        raise ImageError(f"{path}: YCbCr under {compression}; convert it to RGB")
    if photometric in ("RGB", "YCBCR") and planes == 1:
        return _colour_decoder(path, page, samples)
    raise ImageError(
        f"{path}: photometric {photometric} with {samples} samples in {planes} planes; expected"
        " gray, RGB or channels of gray; convert it"
    )


def _colour_decoder(
    path: Path, page: Any, samples: int
) -> tuple[Callable[[Pixels], Pixels], tuple[str, ...], str]:
    extra = tuple(int(kind) for kind in page.extrasamples)
    if samples == 3 and page.compression.name == "APERIO_JP2000_YCBC":
        # whatever the photometric tag says: JPEG's YCbCr, which the codec does not transform
        return _ycbcr_to_rgb, RGB, "YCbCr (Aperio 33003), converted to RGB"
    if samples == 3:
        return (lambda pixels: pixels), RGB, "RGB"
    if samples == 4 and extra in ((1,), (2,)):
        premultiplied = extra == (1,)
        return (
            lambda pixels: on_white(pixels[..., :3], pixels[..., 3:], premultiplied=premultiplied),
            RGB,
            "RGB with alpha, laid on white",
        )
    raise ImageError(
        f"{path}: RGB with {samples} channels, of which {samples - 3} of unknown meaning;"
        " export 3, or alpha marked as such"
    )


def _ycbcr_to_rgb(pixels: Pixels) -> Pixels:
    return cv2.cvtColor(np.ascontiguousarray(pixels[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)


def _palette_decoder(page: Any) -> Callable[[Pixels], Pixels]:
    colours = np.asarray(page.colormap).T  # (entries, 3), 16 bits a colour by the standard
    if colours.max() > 255:
        colours = colours >> 8
    table = colours.astype(np.uint8)
    return lambda pixels: table[pixels[..., 0]]


def _channel_names(tiff: Any, count: int) -> tuple[str, ...]:
    if count == 1:
        return GRAY
    names = ome_channels(tiff.ome_metadata) if tiff.is_ome else []
    if len(names) != count:
        labels = (tiff.imagej_metadata or {}).get("Labels") if tiff.is_imagej else None
        names = list(labels)[:count] if labels else []
    names += [""] * (count - len(names))
    return tuple(str(name) or str(index) for index, name in enumerate(names[:count]))


def _loader(series: Any, index: int, decode: Callable[[Pixels], Pixels]) -> Callable[[Box], Pixels]:
    """Reads a box of a level; what is not tiled is decoded whole, once, when it is small enough."""
    import zarr

    level = series.levels[index]

    @lru_cache(maxsize=1)
    def stored() -> Any:
        if not level.keyframe.is_tiled and level.nbytes <= WHOLE_LEVEL_BYTES:
            return level.asarray()
        return zarr.open_array(series.aszarr(level=index), mode="r")

    def load(box: Box) -> Pixels:
        wanted = {"Y": slice(box.y0, box.y1), "X": slice(box.x0, box.x1)}
        pixels = np.asarray(stored()[tuple(wanted.get(axis, slice(None)) for axis in level.axes)])
        order = [level.axes.index("Y"), level.axes.index("X")]
        rest = [axis for axis in range(pixels.ndim) if axis not in order]
        return decode(pixels.transpose(*order, *rest).reshape(*box.shape, -1))

    return load


def _require_whole(path: Path, level: Any, *, size: int) -> None:
    """Every tile or strip of a level must lie in the file, and be small enough to decode."""
    page = level.keyframe
    chunk_bytes = math.prod(page.chunks) * page.dtype.itemsize
    if chunk_bytes > LARGEST_CHUNK_BYTES:
        raise ImageError(
            f"{path}: stored in pieces of {chunk_bytes / 2**30:.1f} GiB, which cannot be read by"
            " region; convert it to a tiled TIFF"
        )
    if level.dataoffset is not None:  # all planes in one run of bytes
        _require_bytes(path, level.dataoffset + level.nbytes, size)
    for plane in level.pages:
        if plane is None and level.dataoffset is None:
            raise ImageError(
                f"{path}: a channel lies in another file, which is missing or damaged; put it"
                " beside this one, or export one file"
            )
        if plane is None:  # part of such a run
            continue
        offsets, counts = np.asarray(plane.dataoffsets), np.asarray(plane.databytecounts)
        pieces = math.prod(page.chunked)
        if len(counts) < pieces or len(offsets) < pieces:
            raise ImageError(
                f"{path}: has {len(counts)} of {pieces} tiles or strips of a level of"
                f" {page.imagelength} x {page.imagewidth} px; copy it again"
            )
        if (counts[:pieces] == 0).any() or (offsets[:pieces] == 0).any():
            first = int(np.argmax((counts[:pieces] == 0) | (offsets[:pieces] == 0)))
            raise ImageError(
                f"{path}: tile or strip {first} of a level of {page.imagelength} x"
                f" {page.imagewidth} px is missing; export the image again"
            )
        _require_bytes(path, int((offsets[:pieces] + counts[:pieces]).max()), size)


def _require_bytes(path: Path, needed: int, size: int) -> None:
    if needed > size:
        raise ImageError(f"{path}: truncated: needs {needed} bytes, has {size}; copy it again")


def _container(tiff: Any, page: Any) -> str:
    kinds = {
        "Aperio SVS": tiff.is_svs,
        "Hamamatsu NDPI": tiff.is_ndpi,
        "OME-TIFF": tiff.is_ome,
        "ImageJ TIFF": tiff.is_imagej,
        "Philips TIFF": tiff.is_philips,
    }
    kind = next((name for name, is_it in kinds.items() if is_it), "TIFF")
    big = " (BigTIFF)" if tiff.is_bigtiff else ""
    pieces = (
        f"tiles of {page.tilelength} x {page.tilewidth} px"
        if page.is_tiled
        else f"strips of {page.rowsperstrip if page.rowsperstrip else page.imagelength} rows"
    )
    return f"{kind}{big}, {page.compression.name}, {pieces}"
