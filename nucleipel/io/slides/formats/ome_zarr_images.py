"""The images of a zarr hierarchy: one, or bioformats2raw's series, a plate's, SpatialData's."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.ome_xml import read_ome_xml
from nucleipel.io.slides.formats.series import Series, picture_of_slide
from nucleipel.io.slides.formats.suffixes import is_zarr

MOST_MEASURED = 16
"""Sizes are read of at most so many images."""
DEPTH = 2
"""SpatialData has its images at `images/NAME`."""
NO_IMAGES = ("labels", "points", "shapes", "tables", "OME")


@dataclass(frozen=True)
class HeldImage:
    """An image of a hierarchy: what it is named, and where its metadata stands.

    Parameters
    ----------
    series : Series
    group : zarr.Group
    index : int
        Which entry of the group's `multiscales` it is.
    """

    series: Series
    group: Any
    index: int = 0

    def multiscale(self) -> dict[str, Any]:
        """Its entry in `multiscales`."""
        entry: dict[str, Any] = ome_attributes(self.group)["multiscales"][self.index]
        return entry


def find_images(path: Path) -> list[HeldImage]:
    """Every image at or below a zarr folder.

    Raises
    ------
    ImageError
        If there is none.
    """
    import zarr

    root = zarr.open(path, mode="r")
    if not isinstance(root, zarr.Group):
        raise ImageError(
            f"{path}: a zarr array without OME-Zarr metadata; name the image that holds it:"
            f" {path.parent}"
        )
    by_bioformats = "bioformats2raw.layout" in ome_attributes(root)
    names = _names_of_bioformats(path) if by_bioformats else ()
    groups = list(_groups(root, path))
    measured = len(groups) <= MOST_MEASURED
    images = []
    for number, (name, group) in enumerate(groups):
        for index, entry in enumerate(ome_attributes(group)["multiscales"]):
            plain = names[number] if number < len(names) else name or str(entry.get("name") or "")
            shape = _shape(group, entry) if measured else None
            images.append(HeldImage(Series(plain, shape, picture_of_slide(plain)), group, index))
    if not images:
        raise ImageError(f"{path}: holds no 'multiscales'; expected an OME-Zarr 0.4 or 0.5 image")
    return images


def ome_attributes(group: Any) -> dict[str, Any]:
    """The OME part of a group's attributes, of either version."""
    attributes = dict(group.attrs)
    return attributes.get("ome", attributes)


def _groups(root: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """The groups that are images, by their path below `root`, which lies at `path`."""
    attributes = ome_attributes(root)
    if attributes.get("multiscales"):
        yield "", root
    elif "plate" in attributes:
        for well in attributes["plate"]["wells"]:
            for name, group in _groups(root[well["path"]], path / well["path"]):
                yield f"{well['path']}/{name}", group
    elif "well" in attributes:
        for image in attributes["well"]["images"]:
            yield image["path"], root[image["path"]]
    elif "bioformats2raw.layout" in attributes:
        for name in _listed_by_bioformats(path):
            yield name, root[name]
    else:
        yield from _groups_below(path, depth=DEPTH)


def _groups_below(path: Path, *, depth: int) -> Iterator[tuple[str, Any]]:
    import zarr

    # by folders: zarr refuses to list a group that holds anything else
    for folder in sorted(path.iterdir()) if depth else ():
        if folder.name in NO_IMAGES or not is_zarr(folder):
            continue
        below = zarr.open(folder, mode="r")
        if isinstance(below, zarr.Group) and ome_attributes(below).get("multiscales"):
            yield folder.name, below
        elif isinstance(below, zarr.Group):
            for rest, image in _groups_below(folder, depth=depth - 1):
                yield f"{folder.name}/{rest}", image


def _listed_by_bioformats(path: Path) -> list[str]:
    """The groups of bioformats2raw's series in their order, as it lists or numbers them."""
    import zarr

    if is_zarr(path / "OME"):
        listed = ome_attributes(zarr.open_group(path / "OME", mode="r")).get("series")
        if listed:
            return [str(name) for name in listed]
    numbers = [folder.name for folder in path.iterdir() if folder.name.isdecimal()]
    return sorted(numbers, key=int)


def _names_of_bioformats(path: Path) -> tuple[str, ...]:
    """Names of the series, which stand in an OME-XML in the same folder."""
    file = path / "OME" / "METADATA.ome.xml"
    if not file.is_file():
        return ()
    return tuple(image.name for image in read_ome_xml(file.read_text("utf-8")) or ())


def _shape(group: Any, entry: dict[str, Any]) -> tuple[int, int] | None:
    axes = [axis["name"] if isinstance(axis, dict) else axis for axis in entry.get("axes", ())]
    shape = group[entry["datasets"][0]["path"]].shape
    if not {"y", "x"} <= set(axes) or len(axes) != len(shape):
        return None
    return shape[axes.index("y")], shape[axes.index("x")]
