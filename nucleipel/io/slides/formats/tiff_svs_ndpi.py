"""TIFF and its relatives: SVS, NDPI, QPTIFF, OME-TIFF, BigTIFF; tiled or striped, also pyramids.

The series and levels of a file are as tifffile finds them. What would be black
or wrong without a word is refused before anything is decoded: missing or cut
tiles, stacks of planes, color spaces that nobody converts, pixels that lie on
their side.
"""

import logging
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.channels import name_channels
from nucleipel.io.slides.formats.ome_xml import OmeImage, read_ome_xml
from nucleipel.io.slides.formats.orientation import require_upright
from nucleipel.io.slides.formats.pixel_size import PixelSizes
from nucleipel.io.slides.formats.series import ELSEWHERE, Series, choose_series, picture_of_slide
from nucleipel.io.slides.formats.stored_image import (
    RGB,
    WHOLE_LEVEL_BYTES,
    Level,
    Pixels,
    SourceFrame,
    StoredImage,
    downsample_of,
)
from nucleipel.io.slides.formats.tiff_pixel_size import tiff_pixel_sizes
from nucleipel.io.slides.formats.tiff_pixels import Decoder, decoder_of
from nucleipel.io.slides.formats.tiff_whole import require_last_page, require_whole

VENDORS = ("svs", "ndpi", "qpi", "philips", "indica", "avs", "scn", "bif")
"""Kinds of series in tifffile whose first is the slide, whatever the others are named."""
SMALL = 16
"""A later series without a name and with fewer pixels than a 16th is a picture of the slide."""
OME_WITHIN = 1000

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its faults are reported by ours


def open_tiff(path: Path, *, series: int | str | None = None, ids: bool = False) -> StoredImage:
    """Open a TIFF; parameters and errors as `open_image`."""
    import tifffile

    tiff = tifffile.TiffFile(path)
    try:
        require_last_page(path, tiff)
        return _read_header(path, tiff, wanted=series, ids=ids)
    except BaseException:
        tiff.close()
        raise


def _read_header(path: Path, tiff: Any, *, wanted: int | str | None, ids: bool) -> StoredImage:
    held = [_describe(series, tiff) for series in tiff.series]
    if not held or all(one.pixels == 0 for one in held):
        raise ImageError(f"{path}: holds no image of at least 1 x 1 px; copy it again")
    chosen = choose_series(path, held, wanted)
    series = tiff.series[chosen]
    page = series.keyframe
    _require_one_plane(path, series)
    require_upright(path, page.tags.valueof("Orientation"), "its orientation tag")
    for level in series.levels:
        require_whole(path, level, size=tiff.filehandle.size)
    ome_images = read_ome_xml(text) if (text := _ome_text(tiff)) else ()
    ome = _ome_of_series(tiff, ome_images or ())[chosen]
    decoder = decoder_of(path, series, ids=ids)
    channels = decoder.channels or name_channels(_channel_names(tiff, series, ome), decoder.planes)
    planes = decoder.channels is None and channels == RGB
    sizes = tiff_pixel_sizes(tiff, page, ome)
    if ome_images is None:
        sizes += PixelSizes(unread=("its OME-XML cannot be parsed",))
    return StoredImage(
        path=path,
        container=_container(tiff, page),
        levels=_levels(series, decoder),
        dtype=decoder.dtype or np.dtype(series.dtype),
        channels=channels,
        photometric="planes named red, green and blue, read as RGB" if planes else decoder.meaning,
        pixel_sizes=sizes,
        series=tuple(held),
        source=SourceFrame(series=chosen),
        close=tiff.close,
    )


def _ome_text(tiff: Any) -> str:
    """The OME-XML of a file, also one that was cut, which tifffile does not know for one."""
    text = str(tiff.ome_metadata if tiff.is_ome else tiff.pages.first.description or "")
    return text if tiff.is_ome or "<OME " in text[:OME_WITHIN] else ""


def _describe(series: Any, tiff: Any) -> Series:
    first = series is tiff.series[0]
    aside = "" if first and series.kind in VENDORS else picture_of_slide(series.name)
    if not first and not series.name and series.size * SMALL <= tiff.series[0].size:
        aside = "a small picture"
    if not first and not aside and series.kind in VENDORS:
        aside = "a picture of the slide"
    if series.kind == "lsmreduced":
        aside = "a thumbnail"
    if series.kind == "ome" and not any(
        page is not None and page.parent is tiff for page in series.pages
    ):
        aside = ELSEWHERE
    return Series(series.name, _shape(series), aside)


def _ome_of_series(tiff: Any, images: tuple[OmeImage, ...]) -> list[OmeImage | None]:
    """Return the images that the OME-XML describes, in the order of the series."""
    matches: list[OmeImage | None] = []
    left = list(images)
    for series in tiff.series:
        fits = [i for i, image in enumerate(left) if image.shape == _shape(series) and
                image.name in (series.name, "")]  # fmt: skip
        matches.append(left[fits[0]] if fits else None)
        left = left[fits[0] + 1 :] if fits else left
    return matches


def _levels(series: Any, decoder: Decoder) -> tuple[Level, ...]:
    shapes = [_shape(level) for level in series.levels]
    return tuple(
        Level(shape, downsample_of(shape, shapes[0]), _loader(series, index, decoder.decode))
        for index, shape in enumerate(shapes)
    )


def _shape(level: Any) -> tuple[int, int]:
    sizes = dict(zip(level.axes, level.shape, strict=True))
    return sizes.get("Y", 0), sizes.get("X", 0)


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


def _channel_names(tiff: Any, series: Any, ome: OmeImage | None) -> tuple[str, ...]:
    if ome is not None:
        return ome.channels
    if tiff.is_imagej:
        return tuple((tiff.imagej_metadata or {}).get("Labels") or ())
    if tiff.is_qpi:
        return tuple(_qpi_name(page) for page in series.pages)
    return ()


def _qpi_name(page: Any) -> str:
    """The biomarker of a page of a QPTIFF, else the name of its filter."""
    from defusedxml.ElementTree import fromstring

    try:
        root = fromstring(page.description)
    except Exception:  # as in `read_ome_xml`
        return ""
    return root.findtext("Biomarker") or root.findtext("Name") or ""


def _loader(series: Any, index: int, decode: Callable[[Pixels], Pixels]) -> Callable[[Box], Pixels]:
    """Reads a box of a level; what is not tiled is mapped or, when it is small, decoded whole."""
    import zarr

    level = series.levels[index]

    @lru_cache(maxsize=1)
    def stored() -> Any:
        if not level.keyframe.is_tiled:
            if level.nbytes <= WHOLE_LEVEL_BYTES:
                return level.asarray()
            if level.dataoffset is not None and level.keyframe.is_memmappable:
                return level.asarray(out="memmap")  # one strip may be all of the level
        return zarr.open_array(series.aszarr(level=index), mode="r")

    def load(box: Box) -> Pixels:
        wanted = {"Y": slice(box.y0, box.y1), "X": slice(box.x0, box.x1)}
        pixels = np.asarray(stored()[tuple(wanted.get(axis, slice(None)) for axis in level.axes)])
        pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        order = [level.axes.index("Y"), level.axes.index("X")]
        rest = [axis for axis in range(pixels.ndim) if axis not in order]
        return decode(pixels.transpose(*order, *rest).reshape(*box.shape, -1))

    return load


def _container(tiff: Any, page: Any) -> str:
    kinds = {
        "Aperio SVS": tiff.is_svs,
        "Hamamatsu NDPI": tiff.is_ndpi,
        "Akoya QPTIFF": tiff.is_qpi,
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
