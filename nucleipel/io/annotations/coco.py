"""COCO instances: one JSON for many images; polygons, or run lengths plain or compressed.

The polygons of one annotation are parts of one nucleus, and are united.
Of categories only those count that `ImportOptions.region_classes` names: their annotations
are regions. Coordinates are in pixels, (0, 0) the corner of the first.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.measured_nuclei import Outline
from nucleipel.errors import ImageError
from nucleipel.io.annotations.objects import rectangles
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
from nucleipel.io.slides.slide import image_stem


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
    for entry in content["images"]:
        image = (options.images or source.parent) / str(entry.get("file_name"))
        shape = shape_of(image, options.series)
        if (entry.get("height", shape[0]), entry.get("width", shape[1])) != shape:
            raise ImageError(
                f"{source}: says {image.name} is {entry['height']} x {entry['width']} px, it is"
                f" {shape[0]} x {shape[1]} px; they must be the same"
            )
        nuclei: list[Outline] = []
        regions: list[Outline] = []
        for number, annotation in of_image[str(entry.get("id"))]:
            outline = _outline(source, number, annotation.get("segmentation"), shape)
            is_region = options.is_region(names.get(str(annotation.get("category_id")), ()))
            (regions if is_region else nuclei).append(outline)
        if options.region_classes and not regions:
            raise ImageError(
                f"{source}: {image.name} has no annotation of the category"
                f" {' or '.join(options.region_classes)}; draw one, or leave --region-class out"
            )
        region = region_of(Polygons.of_outlines(regions), shape)
        annotated = annotate(
            image, Polygons.of_outlines(nuclei), region, shape, min_area_px=options.min_area_px or 0
        )
        name = image_stem(image)
        yield AnnotatedSource(name, image, annotated, source_id=name, region=region)


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
