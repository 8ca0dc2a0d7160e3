"""The images that an OME-XML describes: names, sizes in px and um, channels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nucleipel.io.slides.formats.pixel_size import PixelSizes, stated_size


@dataclass(frozen=True, slots=True)
class OmeImage:
    """One `Image` of an OME-XML.

    Parameters
    ----------
    name : str
        "" for one without.
    shape : (height, width) in px
    sizes : PixelSizes
        Its physical pixel size, or what is wrong with it.
    channels : tuple of str
        Name of each channel, "" for one without.
    """

    name: str
    shape: tuple[int, int]
    sizes: PixelSizes
    channels: tuple[str, ...]


def read_ome_xml(text: str) -> tuple[OmeImage, ...] | None:
    """Every image of an OME-XML in order; None where the text cannot be parsed."""
    # the text comes from strangers: a parser that expands no entities
    from defusedxml.ElementTree import fromstring

    try:
        root = fromstring(text)
    except Exception:  # ParseError, and the five ways in which defusedxml refuses
        return None
    return tuple(
        OmeImage(
            name=image.get("Name", ""),
            shape=(_whole(pixels.get("SizeY")), _whole(pixels.get("SizeX"))),
            sizes=_physical_size(pixels),
            channels=tuple(channel.get("Name", "") for channel in _children(pixels, "Channel")),
        )
        for image in _children(root, "Image")
        for pixels in _children(image, "Pixels")
    )


def _children(element: Any, name: str) -> Iterator[Any]:
    return (child for child in element if str(child.tag).rpartition("}")[2] == name)


def _physical_size(pixels: Any) -> PixelSizes:
    sizes = {axis: pixels.get(f"PhysicalSize{axis}") for axis in "YX"}
    units = {axis: pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "YX"}  # the schema's
    known = [axis for axis in "YX" if sizes[axis] is not None]
    if not known:
        return PixelSizes()
    y, x = known[0], known[-1]  # one that stands alone is that of both axes
    return stated_size(sizes[y], sizes[x], (units[y], units[x]), where="OME-XML")


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.strip().isdecimal() else 0
