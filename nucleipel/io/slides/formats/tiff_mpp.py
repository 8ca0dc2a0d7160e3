"""Every pixel size that a TIFF states: Aperio's text, OME-XML, ImageJ's unit, resolution tags.

Resolution tags count where they can be a microscope's: 72 or 300 dots per inch
are a printer's word, and are written by programs that know nothing of the image.
"""

import html
import re
from typing import Any

from nucleipel.io.slides.formats.stored_image import MppFound

COARSEST_TAG_MPP = 20.0
"""Resolution tags that mean larger pixels (1,270 dots per inch or fewer) are a printer's."""
UM_PER_UNIT = {
    "µm": 1.0, "\u03bcm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0,
    "micrometre": 1.0, "\\u00b5m": 1.0, "nm": 1e-3, "nanometer": 1e-3, "mm": 1e3,
    "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4, "m": 1e6, "meter": 1e6,
}  # fmt: skip
UM_PER_RESOLUTION_UNIT = {2: 25400.0, 3: 1e4}


def found_mpp(tiff: Any, page: Any) -> tuple[MppFound, ...]:
    """What an open `tifffile.TiffFile` and the first page of its image say, best source first."""
    stated = []
    if tiff.is_svs:
        stated.append(_of_aperio(page.description))
    if tiff.is_ome:
        stated.append(_of_ome(tiff.ome_metadata))
    if tiff.is_imagej:
        stated.append(_of_imagej(page, tiff.imagej_metadata or {}))
    stated.append(_of_tags(page, "NDPI resolution tags" if tiff.is_ndpi else "resolution tags"))
    return tuple(mpp for mpp in stated if mpp is not None)


def ome_pixels(xml: str) -> dict[str, str]:
    """Attributes of the first `Pixels` of an OME-XML."""
    # read by pattern: the text comes from strangers, and an XML parser can be bombed
    found = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", xml)
    return _attributes(found[0]) if found else {}


def ome_channels(xml: str) -> list[str]:
    """Names of the channels of the first `Pixels` of an OME-XML, "" for one without."""
    pixels = re.search(r"<(?:\w+:)?Pixels\b.*?</(?:\w+:)?Pixels>", xml, re.DOTALL)
    tags = re.findall(r"<(?:\w+:)?Channel\b[^>]*>", pixels[0]) if pixels else []
    return [_attributes(tag).get("Name", "") for tag in tags]


def _attributes(tag: str) -> dict[str, str]:
    return {name: html.unescape(value) for name, value in re.findall(r'(\w+)="([^"]*)"', tag)}


def _of_aperio(text: str) -> MppFound | None:
    match = re.search(r"\bMPP\s*=\s*([0-9.]+)", text)
    return _positive(match[1], match[1], "Aperio text") if match else None


def _of_ome(xml: str) -> MppFound | None:
    pixels = ome_pixels(xml)
    sizes = []
    for axis in "YX":
        unit = UM_PER_UNIT.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        size = pixels.get(f"PhysicalSize{axis}")
        if size is not None and unit is not None:
            sizes.append(_number(size) * unit)
    return _positive(sizes[0], sizes[-1], "OME-XML") if sizes else None


def _of_imagej(page: Any, metadata: dict[str, Any]) -> MppFound | None:
    unit = UM_PER_UNIT.get(str(metadata.get("unit", "")).lower())
    per_pixel = _pixels_per_unit(page)
    if unit is None or per_pixel is None:
        return None
    return _positive(unit / per_pixel[0], unit / per_pixel[1], "ImageJ unit and resolution tags")


def _of_tags(page: Any, where: str) -> MppFound | None:
    tag = page.tags.get("ResolutionUnit")
    unit = UM_PER_RESOLUTION_UNIT.get(int(tag.value) if tag is not None else 0)
    per_pixel = _pixels_per_unit(page)
    if unit is None or per_pixel is None:
        return None
    found = _positive(unit / per_pixel[0], unit / per_pixel[1], where)
    return found if found and max(found.x, found.y) <= COARSEST_TAG_MPP else None


def _pixels_per_unit(page: Any) -> tuple[float, float] | None:
    tags = [page.tags.get(name) for name in ("YResolution", "XResolution")]
    tags = [tag or next((other for other in tags if other), None) for tag in tags]
    if tags[0] is None or any(not tag.value[0] or not tag.value[1] for tag in tags):
        return None
    return tags[0].value[0] / tags[0].value[1], tags[1].value[0] / tags[1].value[1]


def _positive(y: Any, x: Any, where: str) -> MppFound | None:
    y, x = _number(y), _number(x)
    return MppFound(y, x, where) if 0 < y < float("inf") and 0 < x < float("inf") else None


def _number(text: Any) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
