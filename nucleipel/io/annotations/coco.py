"""COCO instances: one JSON for many images; polygons, or run lengths plain or compressed.

The polygons of one annotation are parts of one nucleus, and are united.
Categories are not told apart. Coordinates are in pixels, (0, 0) the corner of
the first.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.errors import ImageError
from nucleipel.io.annotations.objects import Mask, draw, rasterize
from nucleipel.io.annotations.polygons import require_coordinates
from nucleipel.io.annotations.source import (
    AnnotatedSource,
    Asked,
    require_file,
    shape_of,
)
from nucleipel.io.slides.formats.stored_image import one_line
from nucleipel.io.slides.slide import image_stem


def read_coco(source: Path, asked: Asked) -> Iterator[AnnotatedSource]:
    """The images of a COCO JSON; their files are looked for beside it or in `asked.images`.

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
    for entry in content["images"]:
        image = (asked.images or source.parent) / str(entry.get("file_name"))
        shape = shape_of(image)
        if (entry.get("height", shape[0]), entry.get("width", shape[1])) != shape:
            raise ImageError(
                f"{source}: says {image.name} is {entry['height']} x {entry['width']} px, it is"
                f" {shape[0]} x {shape[1]} px; they must be the same"
            )
        masks = [
            _mask(source, number, annotation.get("segmentation"), shape)
            for number, annotation in of_image[str(entry.get("id"))]
        ]
        drawn = draw(masks, shape, min_area_px=asked.min_area_px or 0)
        yield AnnotatedSource(image_stem(image), image, drawn, source_id=image_stem(image))


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


def _mask(source: Path, number: int, segmentation: Any, shape: tuple[int, int]) -> Mask:
    try:
        if isinstance(segmentation, dict):
            return Mask(0, 0, _of_runs(segmentation, shape))
        rings = [np.array(part, np.float64).reshape(-1, 2)[:, ::-1] for part in segmentation]
        for ring in rings:
            require_coordinates(f"{source}: annotation {number}", ring)
        return _united([rasterize([ring], shape) for ring in rings], shape)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise ImageError(
            f"{source}: annotation {number}: no polygons and no run lengths of its image's size"
        ) from error


def _united(parts: list[Mask], shape: tuple[int, int]) -> Mask:
    if len(parts) == 1:
        return parts[0]
    pixels = np.zeros(shape, bool)
    for part in parts:
        height, width = part.pixels.shape
        pixels[part.y0 : part.y0 + height, part.x0 : part.x0 + width] |= part.pixels
    return Mask(0, 0, pixels)


def _of_runs(segmentation: dict[str, Any], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Run lengths go down the columns and start with background."""
    counts = segmentation["counts"]
    runs = _uncompressed(counts) if isinstance(counts, str) else list(counts)
    if tuple(segmentation["size"]) != shape or sum(runs) != shape[0] * shape[1]:
        raise ValueError("run lengths of another size")
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(shape[1], shape[0]).T


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
