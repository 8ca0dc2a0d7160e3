"""Every pixel size that a TIFF states: Aperio's text, OME-XML, ImageJ's unit, resolution tags.

Resolution tags count where they can be a microscope's: 72 or 300 dots per inch
are a printer's word, and are written by programs that know nothing of the image.
"""

import re
from typing import Any

from nucleipel.io.slides.formats.ome_xml import OmeImage
from nucleipel.io.slides.formats.pixel_size import PixelSizes, stated_size

COARSEST_TAG_MPP = 20.0
"""Resolution tags that mean larger pixels (1,270 dots per inch or fewer) are a printer's."""
RESOLUTION_UNITS = {2: "inch", 3: "cm"}


def tiff_pixel_sizes(tiff: Any, page: Any, ome: OmeImage | None) -> PixelSizes:
    """Read the pixel sizes that an open `tifffile.TiffFile` and an image's first page state.

    `ome` is what its OME-XML says of that image, None if it says nothing.
    """
    stated = PixelSizes()
    if tiff.is_svs:
        stated += _of_aperio(tiff.pages.first.description)
    if ome is not None:
        stated += ome.sizes
    if tiff.is_imagej:
        stated += _of_imagej(page, tiff.imagej_metadata or {})
    return stated + _of_tags(page, "NDPI resolution tags" if tiff.is_ndpi else "resolution tags")


def _of_aperio(text: str) -> PixelSizes:
    match = re.search(r"\bMPP\s*=\s*([^|\s]+)", text)
    return (
        stated_size(match[1], match[1], ("um", "um"), where="Aperio text")
        if match
        else PixelSizes()
    )


def _of_imagej(page: Any, metadata: dict[str, Any]) -> PixelSizes:
    unit, per_pixel = str(metadata.get("unit", "")), _pixels_per_unit(page)
    if per_pixel is None or unit.casefold() in ("", "pixel", "pixels"):
        return PixelSizes()
    sizes = stated_size(
        1 / per_pixel[0], 1 / per_pixel[1], (unit, unit), where="ImageJ unit and resolution tags"
    )
    printed = unit.casefold() in ("inch", "inches") and sizes.known
    return PixelSizes() if printed and _is_printers(sizes) else sizes


def _of_tags(page: Any, where: str) -> PixelSizes:
    tag = page.tags.get("ResolutionUnit")
    unit = RESOLUTION_UNITS.get(int(tag.value) if tag is not None else 0)
    per_pixel = _pixels_per_unit(page)
    if unit is None or per_pixel is None:
        return PixelSizes()
    sizes = stated_size(1 / per_pixel[0], 1 / per_pixel[1], (unit, unit), where=where)
    return PixelSizes() if _is_printers(sizes) else sizes


def _is_printers(sizes: PixelSizes) -> bool:
    return all(max(mpp.x, mpp.y) > COARSEST_TAG_MPP for mpp in sizes.known)


def _pixels_per_unit(page: Any) -> tuple[float, float] | None:
    tags = [page.tags.get(name) for name in ("YResolution", "XResolution")]
    tags = [tag or next((other for other in tags if other), None) for tag in tags]
    if tags[0] is None or any(not tag.value[0] or not tag.value[1] for tag in tags):
        return None
    return tags[0].value[0] / tags[0].value[1], tags[1].value[0] / tags[1].value[1]
