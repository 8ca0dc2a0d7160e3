"""Roles of the objects of a QuPath file: nuclei, or regions that were annotated completely.

Where there are detections or cells, these are the nuclei, and annotations are
regions; in a file of annotations alone nuclei were drawn by hand, and a region
is what is much larger and lies around several of them.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nucleipel.errors import ImageError
from nucleipel.io.annotations.geojson import Feature
from nucleipel.io.annotations.left_out import cells_beside_nuclei, is_no_nucleus
from nucleipel.io.annotations.polygons import Polygons
from nucleipel.io.annotations.rasterize import contains

REGION_CLASS = "region*"
"""QuPath's own class for regions that pixel classifiers are trained on."""
TIMES_LARGER = 10
"""A region's box has at least so many times the area of the median nucleus' box."""


@dataclass(frozen=True, slots=True)
class Roles:
    """The nuclei and the regions of a file, and what was left out, by kind."""

    nuclei: list[Feature]
    regions: list[Feature]
    left_out: Counter[str]


def assign_roles(
    path: Path, features: Sequence[Feature], *, region_classes: Collection[str] = ()
) -> Roles:
    """Sort the features of a file.

    With `region_classes`, regions are the annotations of these classes or names,
    with or without nuclei. Without, those of QuPath's class Region*, and those that
    hold a nucleus (two, where nuclei are annotations too) and are much larger.

    Raises
    ------
    ImageError
        If no annotation has one of the classes.
    """
    left_out: Counter[str] = Counter()
    drawn = [feature for feature in features if _has_area(feature, left_out)]
    annotations = [feature for feature in drawn if feature.kind in ("annotation", "")]
    chosen = _chosen(path, annotations, region_classes) if region_classes else []
    marked = [] if region_classes else [each for each in annotations if _is_region(each)]
    taken = {feature.number for feature in (*chosen, *marked)}
    cells = {
        feature.number
        for feature, is_cell in zip(
            drawn, cells_beside_nuclei([feature.classes for feature in drawn]), strict=True
        )
        if is_cell
    }
    kept = [
        feature
        for feature in drawn
        if feature.number not in taken and _may_be_nucleus(feature, cells, left_out)
    ]
    detected = [feature for feature in kept if feature.kind in ("detection", "cell")]
    others = [feature for feature in kept if feature.kind in ("annotation", "")]
    regions = [*chosen, *marked]
    if not region_classes:
        regions += _large_ones(others, detected or others, among=not detected)
        regions.sort(key=lambda feature: feature.number)
    taken = {feature.number for feature in regions}
    others = [feature for feature in others if feature.number not in taken]
    if not detected:
        return Roles(others, regions, left_out)
    if others:
        left_out["annotations beside detections (a region, if it is one, needs --region-class)"] = (
            len(others)
        )
    return Roles(detected, regions, left_out)


def _has_area(feature: Feature, left_out: Counter[str]) -> bool:
    if not feature.outline:
        left_out["points, lines or objects without a place"] += 1
    return bool(feature.outline)


def _may_be_nucleus(feature: Feature, cells: Collection[int], left_out: Counter[str]) -> bool:
    """Count a feature whose kind or class says that it is none."""
    wrong = is_no_nucleus(feature.classes)
    if feature.kind not in ("detection", "cell", "annotation", ""):
        left_out[f"of kind {feature.kind}"] += 1
    elif feature.kind == "cell" and not feature.has_nucleus:
        left_out["cells without a nucleus"] += 1
    elif wrong:
        left_out[f"of class {wrong}"] += 1
    elif feature.kind != "cell" and feature.number in cells:
        left_out[f"of class {feature.classes[-1]}"] += 1
    else:
        return True
    return False


def _is_region(feature: Feature) -> bool:
    return REGION_CLASS in (name.casefold() for name in feature.names)


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
    for place in np.flatnonzero(sizes >= least).tolist():
        held = contains(areas.take(np.array([place])), centers)
        if among:
            held[place] = False
        if held.sum() >= (2 if among else 1):
            regions.append(annotations[place])
    return regions


def _box_areas(areas: Polygons) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    boxes = areas.boxes
    sizes: np.ndarray[tuple[int], np.dtype[np.int64]] = (boxes[:, 2] - boxes[:, 0]) * (
        boxes[:, 3] - boxes[:, 1]
    )
    return sizes
