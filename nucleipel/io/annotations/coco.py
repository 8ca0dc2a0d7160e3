"""COCO instances: one JSON for many images; polygons, or run lengths plain or compressed.

The polygons of one annotation are parts of one nucleus, and are united.
Annotations of the categories that `ImportOptions.region_classes` names are regions; crowds,
and categories that are no nuclei, are left out. Coordinates are in pixels, (0, 0) the
corner of the first.
"""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.listing import first_names
from nucleipel.core.measured_nuclei import Outline
from nucleipel.errors import ImageError
from nucleipel.io.annotations.left_out import (
    cells_beside_nuclei,
    is_no_nucleus,
    question_sizes,
    report_left_out,
)
from nucleipel.io.annotations.objects import rectangles
from nucleipel.io.annotations.pairing import walk
from nucleipel.io.annotations.polygons import Polygons, require_coordinates
from nucleipel.io.annotations.source import (
    AnnotatedSource,
    ImportOptions,
    annotate,
    region_of,
    require_file,
    shape_of,
)
from nucleipel.io.slides.formats.stored_image import one_line
from nucleipel.io.slides.formats.suffixes import is_image
from nucleipel.io.slides.slide import image_stem

log = logging.getLogger(__name__)

MOST_NAMED = 5


def read_coco(source: Path, options: ImportOptions) -> Iterator[AnnotatedSource]:
    """The images of a COCO JSON; their files are in its folder or in `options.images`.

    Raises
    ------
    ImageError
        If the JSON is not COCO's, an annotation is not drawn, or an image is
        missing or of another size.
    """
    content = _read(source)
    listed = {str(entry.get("id")) for entry in content["images"]}
    of_image: dict[str, list[tuple[int, Any]]] = defaultdict(list)
    for number, annotation in enumerate(content["annotations"]):
        name = str(annotation.get("image_id"))
        if name not in listed:
            raise ImageError(
                f"{source}: annotation {number}: no image has the id {name}; list it, or drop both"
            )
        of_image[name].append((number, annotation))
    names = _category_names(content)
    _report_unlisted(source, content, options.images or source.parent)
    empty = []
    for entry in content["images"]:
        image = (options.images or source.parent) / str(entry.get("file_name"))
        if not of_image[str(entry.get("id"))]:
            empty.append(image.name)
            continue
        shape = shape_of(image, options.series)
        if (entry.get("height", shape[0]), entry.get("width", shape[1])) != shape:
            raise ImageError(
                f"{source}: says {image.name} is {entry['height']} x {entry['width']} px, it is"
                f" {shape[0]} x {shape[1]} px; they must be the same"
            )
        objects = [
            _Object(number, names.get(str(annotation.get("category_id")), ()), annotation)
            for number, annotation in of_image.pop(str(entry.get("id")))
        ]
        nuclei, region = _sort(source, image, objects, shape, options)
        annotated = annotate(image, nuclei, region, shape, min_area_px=options.min_area_px or 0)
        name = image_stem(image)
        yield AnnotatedSource(name, image, annotated, source_id=name, region=region)
    if len(empty) == len(content["images"]):
        raise ImageError(f"{source}: no image has an annotation; expected outlines of nuclei")
    if empty:
        named = ", ".join(empty[:MOST_NAMED]) + (", ..." if len(empty) > MOST_NAMED else "")
        log.warning("%s: left out, without annotations: %d images (%s)", source, len(empty), named)


@dataclass(frozen=True, slots=True)
class _Object:
    """An annotation, its place in the file, and the names of its category."""

    number: int
    names: tuple[str, ...]
    annotation: dict[str, Any]

    def __str__(self) -> str:
        return f"annotation {self.number}" + (f" ({self.names[0]})" if self.names else "")


def _sort(
    source: Path,
    image: Path,
    objects: list[_Object],
    shape: tuple[int, int],
    options: ImportOptions,
) -> tuple[Polygons, Polygons | None]:
    """The nuclei of an image, and its regions; what is neither is counted."""
    left_out: Counter[str] = Counter()
    regions = [each for each in objects if options.is_region(each.names)]
    if options.region_classes and not regions:
        raise ImageError(
            f"{source}: {image.name} has no annotation of the category"
            f" {' or '.join(options.region_classes)}; draw one, or leave --region-class out"
        )
    rest = [each for each in objects if not options.is_region(each.names)]
    cells = cells_beside_nuclei([each.names for each in rest])
    nuclei = []
    for each, is_cell in zip(rest, cells, strict=True):
        wrong = is_no_nucleus(each.names) or (each.names[0] if is_cell else "")
        if each.annotation.get("iscrowd") not in (None, 0, False, "0"):
            left_out["crowds (iscrowd)"] += 1
        elif wrong:
            left_out[f"of category {wrong}"] += 1
        elif not each.annotation.get("segmentation"):
            left_out["boxes or points without an outline"] += 1
        else:
            nuclei.append(each)
    report_left_out(image, left_out, kept=len(nuclei), needed=not regions)
    region, outlines = (
        Polygons.of_outlines(
            _outline(source, each.number, each.annotation.get("segmentation"), shape)
            for each in chosen
        )
        for chosen in (regions, nuclei)
    )
    question_sizes(image, outlines, list(map(str, nuclei)), shape)
    return outlines, region_of(region, shape)


def _report_unlisted(source: Path, content: dict[str, Any], folder: Path) -> None:
    listed = {(folder / str(entry.get("file_name"))).resolve() for entry in content["images"]}
    there = [path for path in walk(folder) if is_image(path)] if folder.is_dir() else []
    names = [path.name for path in there if path.resolve() not in listed]
    if names:
        log.warning(
            "%s: images not listed, left out: %d: %s", source, len(names), first_names(names)
        )


def _read(source: Path) -> dict[str, Any]:
    require_file(source)
    try:
        content = json.loads(source.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ImageError(
            f"{source}: no readable JSON: {one_line(error)}; export it again"
        ) from error
    lists = (
        [content.get(key) for key in ("images", "annotations")] if isinstance(content, dict) else []
    )
    if not lists or not all(
        isinstance(items, list) and all(isinstance(item, dict) for item in items) for items in lists
    ):
        raise ImageError(f"{source}: no COCO instances; expected 'images' and 'annotations'")
    return dict(content)


def _category_names(content: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Name and supercategory of each category, by its id as text."""
    listed = content.get("categories")
    categories = [entry for entry in listed if isinstance(entry, dict)] if listed else []
    return {
        str(entry.get("id")): tuple(
            str(entry[key]) for key in ("name", "supercategory") if isinstance(entry.get(key), str)
        )
        for entry in categories
    }


def _outline(source: Path, number: int, segmentation: Any, shape: tuple[int, int]) -> Outline:
    """The polygons of an annotation, which are united; of run lengths one rectangle a run."""
    where = f"{source}: annotation {number}"
    try:
        if isinstance(segmentation, dict):
            return _of_runs(segmentation, shape)
        rings = [np.array(part, np.float64).reshape(-1, 2)[:, ::-1] for part in segmentation]
        for ring in rings:
            require_coordinates(where, ring)
        return [[ring] for ring in rings]
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise ImageError(f"{where}: no polygons and no run lengths of its image's size") from error


def _of_runs(segmentation: dict[str, Any], shape: tuple[int, int]) -> Outline:
    """Run lengths go down the columns, from one to the next, and start with background."""
    counts = segmentation["counts"]
    runs = _uncompressed(counts) if isinstance(counts, str) else list(counts)
    height, width = shape
    if tuple(segmentation["size"]) != shape or sum(runs) != height * width or min(runs) < 0:
        raise ValueError("run lengths of another size")
    ends = np.cumsum(runs)
    starts, stops = ends[0::2][: len(ends) // 2], ends[1::2]
    boxes = []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        while start < stop:  # whole columns together, the first and the last one apart
            column, row = divmod(start, height)
            columns = max((stop - start) // height, 1) if row == 0 else 1
            last = min(row + stop - start, height)
            boxes.append((row, column, last, column + columns))
            start += (last - row) * columns
    return rectangles(*np.array(boxes, np.int64).reshape(-1, 4).T)


def _uncompressed(text: str) -> list[int]:
    """COCO's text of run lengths: 5 bits a character, from the third run on as differences."""
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    return runs
