"""The annotated image that every format yields, and how its image is found."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.errors import ImageError
from nucleipel.io.annotations.objects import Drawn, Outlined, draw_polygons, keep_polygons
from nucleipel.io.annotations.polygons import UNITS, Polygons
from nucleipel.io.annotations.rasterize import contains, covered
from nucleipel.io.slides.formats import open_image

log = logging.getLogger(__name__)

LARGEST_MAP_PX = 2**25
"""Nuclei of larger images stay polygons: a map of a slide would not fit into memory."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """Options of an import: where images are, what is left out, what is split.

    `min_area_px` None means the format's own rule. `region_classes` are the
    classes or names of what was annotated completely; where there are none, the
    format's own rule says what that is. `series` is the index or name of one of
    several images in each file.
    """

    images: Path | None = None
    min_area_px: int | None = None
    split_pieces: bool = False
    region_classes: tuple[str, ...] = ()
    series: int | str | None = None

    def is_region(self, names: Iterable[str]) -> bool:
        """Return whether one of the names is that of a region class, letter case ignored."""
        wanted = {name.casefold() for name in self.region_classes}
        return any(name.casefold() in wanted for name in names)


@dataclass(frozen=True, slots=True)
class AnnotatedSource:
    """One image with its nuclei.

    Parameters
    ----------
    id : str
        Names the label file.
    image : Path or (H, W, 3) uint8
        Where the image lies; its pixels where the source keeps no image file.
    nuclei : Drawn or Outlined
        Their instance map, or their polygons, and how many did not come into it.
    source_id : str
        Patient, slide or field of view.
    split : str
        Split of the source, "" where it has none.
    mpp : float, optional
        What the annotation says.
    region : Polygons, optional
        What was annotated completely, if not all of the image; then nuclei are `Outlined`.
    """

    id: str
    image: Path | npt.NDArray[np.uint8]
    nuclei: Drawn | Outlined
    source_id: str
    split: str = ""
    mpp: float | None = None
    region: Polygons | None = None


def region_of(areas: Polygons, shape: tuple[int, int]) -> Polygons | None:
    """The areas as a region of an image of shape (height, width); None if they are all of it."""
    if not len(areas):
        return None
    if shape[0] * shape[1] > LARGEST_MAP_PX:
        return areas
    rows, columns = (np.arange(length) for length in shape)
    return None if covered(areas, rows, columns).all() else areas


def annotate(
    path: Path,
    polygons: Polygons,
    region: Polygons | None,
    shape: tuple[int, int],
    *,
    min_area_px: int,
) -> Drawn | Outlined:
    """Turn polygons on an image of shape (height, width) into a map, where that is wise.

    With a region, nuclei without a corner in it are left out; `path` is named in the log.
    """
    if region is None and shape[0] * shape[1] <= LARGEST_MAP_PX:
        return draw_polygons(polygons, shape, min_area_px=min_area_px)
    if region is not None:
        inside = _reach_into(polygons, region)
        outside = len(polygons) - int(inside.sum())
        report = log.warning if outside or not inside.any() else log.info
        report(
            "%s: regions: %d, with %d nuclei; %d outside of them are left out",
            path, len(region), inside.sum(), outside,
        )  # fmt: skip
        polygons = polygons.take(np.flatnonzero(inside))
    return keep_polygons(polygons, shape, min_area_px=min_area_px)


def _reach_into(polygons: Polygons, region: Polygons) -> npt.NDArray[np.bool_]:
    """Return whether any corner of each area (n,) lies in a region."""
    inside = contains(region, polygons.corners / UNITS)
    starts = polygons.rings[polygons.polygons[polygons.areas]]
    counts = np.concatenate([[0], np.cumsum(inside)])
    return counts[starts[1:]] > counts[starts[:-1]]


def require_folder(source: Path) -> None:
    """Check that a source is a folder.

    Raises
    ------
    ImageError
        If it is not.
    """
    if not source.is_dir():
        raise ImageError(f"{source}: no such folder; check the path")


def require_file(path: Path) -> None:
    """Check that a path is a regular file: a pipe would be waited on for ever.

    Raises
    ------
    ImageError
        If it is not.
    """
    if not path.is_file():
        kind = "is no regular file" if path.exists() else "no such file"
        raise ImageError(f"{path}: {kind}; check the path")


def shape_of(image: Path, series: int | str | None = None) -> tuple[int, int]:
    """(height, width) of an image file; errors as `open_image`."""
    opened = open_image(image, series=series)
    opened.close()
    return opened.shape


def integral(path: Path, values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Ids as int64, from integers or from floats without a fraction.

    Raises
    ------
    ImageError
        If they are anything else, or negative.
    """
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or (values != np.rint(values)).any():
            raise ImageError(f"{path}: ids with fractions or NaN; expected whole numbers")
    elif values.dtype.kind not in "uib":
        raise ImageError(f"{path}: holds {values.dtype}; expected whole numbers")
    if values.size and values.min() < 0:
        raise ImageError(
            f"{path}: holds the negative id {values.min():g}; expected 0 for background"
        )
    return values.astype(np.int64)
