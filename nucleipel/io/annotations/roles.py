"""Roles of the objects of a QuPath file: nuclei, or regions that were annotated completely.

Where there are detections or cells, these are the nuclei, and annotations are
regions; in a file of annotations alone nuclei were drawn by hand, and a region
is what is much larger and lies around several of them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nucleipel.errors import ImageError
from nucleipel.io.annotations.geojson import Feature
from nucleipel.io.annotations.polygons import Polygons
from nucleipel.io.annotations.rasterize import contains

REGION_CLASS = "region*"
"""QuPath's own class for regions that pixel classifiers are trained on."""
TIMES_LARGER = 10
"""A region's box has at least so many times the area of the median nucleus' box."""


@dataclass(frozen=True, slots=True)
class Roles:
    """The nuclei and the regions of a file, and which annotations (`others`) are neither."""

    nuclei: list[Feature]
    regions: list[Feature]
    others: list[Feature]
    without_nucleus: int = 0
    """Cells that have none, in a file where others do."""


def assign_roles(
    path: Path, features: Sequence[Feature], *, region_classes: Collection[str] = ()
) -> Roles:
    """Sort the features of a file that have an area.

    With `region_classes`, regions are the annotations of these classes or names,
    with or without nuclei. Without, those of QuPath's class Region*, and those that
    hold a nucleus (two, where nuclei are annotations too) and are much larger.

    Raises
    ------
    ImageError
        If no annotation has one of the classes, or there is nothing but tiles.
    """
    drawn = [feature for feature in features if feature.outline]
    detected = [feature for feature in drawn if feature.kind in ("detection", "cell")]
    annotations = [feature for feature in drawn if feature.kind in ("annotation", "")]
    tiles = sum(feature.kind == "tile" for feature in drawn)
    if tiles and not detected and not annotations:
        raise ImageError(
            f"{path}: {tiles} tiles and nothing else; expected detections, cells or annotations"
        )
    regions = _chosen(path, annotations, region_classes) if region_classes else None
    if regions is None:
        regions = _large_ones(annotations, detected or annotations, among=not detected)
    taken = {feature.number for feature in regions}
    rest = [feature for feature in annotations if feature.number not in taken]
    if not detected:
        return Roles(rest, regions, [])
    some_have = any(feature.has_nucleus for feature in detected)
    nuclei = [
        feature
        for feature in detected
        if feature.has_nucleus or feature.kind == "detection" or not some_have
    ]
    return Roles(nuclei, regions, rest, len(detected) - len(nuclei))


def _chosen(
    path: Path, annotations: Sequence[Feature], region_classes: Collection[str]
) -> list[Feature]:
    wanted = {name.casefold() for name in region_classes}
    chosen = [
        feature for feature in annotations if wanted & {name.casefold() for name in feature.names}
    ]
    if not chosen:
        names = sorted({name for feature in annotations for name in feature.names})
        has = f"has {', '.join(names[:10])}" if names else "has none with a class or name"
        raise ImageError(
            f"{path}: no annotation has the class or name {' or '.join(region_classes)}; it {has}"
        )
    return chosen


def _large_ones(
    annotations: Sequence[Feature], nuclei: Sequence[Feature], *, among: bool
) -> list[Feature]:
    """Annotations around nuclei; `among` them, where these are annotations too."""
    if not annotations:
        return []
    areas = Polygons.of_outlines(feature.outline for feature in annotations)
    shapes = areas if among else Polygons.of_outlines(feature.outline for feature in nuclei)
    sizes, centers = _box_areas(areas), shapes.centers()
    least = TIMES_LARGER * float(np.median(_box_areas(shapes)))
    regions = []
    for place, feature in enumerate(annotations):
        if REGION_CLASS in (name.casefold() for name in feature.names):
            regions.append(feature)
        elif sizes[place] >= least:
            held = contains(areas.take(np.array([place])), centers)
            if among:
                held[place] = False
            if held.sum() >= (2 if among else 1):
                regions.append(feature)
    return regions


def _box_areas(areas: Polygons) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    boxes = areas.boxes
    sizes: np.ndarray[tuple[int], np.dtype[np.int64]] = (boxes[:, 2] - boxes[:, 0]) * (
        boxes[:, 3] - boxes[:, 1]
    )
    return sizes
