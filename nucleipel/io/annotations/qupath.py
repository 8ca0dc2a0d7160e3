"""QuPath's GeoJSON: one file an image, one feature a nucleus, in pixels of level 0.

A cell counts by its `nucleusGeometry`. Where a file has detections or cells,
its plain annotations are regions of interest and are left out; a file of
annotations alone is taken as drawn by hand, one a nucleus. Points and lines
have no area and are left out. A MultiPolygon is one nucleus of several parts.
"""

import gzip
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.errors import ImageError
from nucleipel.io.annotations.objects import Ring, draw, rasterize
from nucleipel.io.annotations.source import (
    AnnotatedSource,
    Asked,
    files_below,
    image_for,
    images_below,
    require_coordinates,
    shape_of,
)
from nucleipel.io.slides.slide import image_stem

log = logging.getLogger(__name__)

LARGEST_BYTES = 2**30
SUFFIXES = (".geojson", ".geojson.gz", ".json")


def read_qupath(source: Path, asked: Asked) -> Iterator[AnnotatedSource]:
    """A GeoJSON file, or every one below a folder, with the image of its name.

    Raises
    ------
    ImageError
        If there is none, one is no GeoJSON (with the number of the feature at
        fault), or an image is missing.
    """
    files = [source] if source.is_file() else files_below(source, *SUFFIXES)
    if not files:
        raise ImageError(f"{source}: no GeoJSON there; expected a file or a folder of them")
    images = images_below(asked.images or (source.parent if source.is_file() else source))
    for path in files:
        image = image_for(path, images)
        shape = shape_of(image)
        masks = [rasterize(rings, shape) for rings in _nuclei(path, shape)]
        drawn = draw(masks, shape, min_area_px=asked.min_area_px or 0)
        name = image_stem(image)
        yield AnnotatedSource(name, image, drawn, source_id=name)


def read_outlines(path: Path, shape: tuple[int, int]) -> list[list[Ring]]:
    """The rings (n, 2) of (y, x) of every feature that has an area, whatever it stands for.

    `shape` is (height, width) of level 0 of the image.

    Raises
    ------
    ImageError
        If it is no GeoJSON, holds no area, or all of them lie outside the image.
    """
    outlines = [_rings(path, number, item) for number, item in enumerate(_features(path))]
    outlines = [rings for rings in outlines if rings]
    if not any(_touches(rings, shape) for rings in outlines):
        what = f"all {len(outlines)} areas lie outside" if outlines else "holds no area on"
        raise ImageError(
            f"{path}: {what} the image of {shape[0]} x {shape[1]} px; is it another image's, or in"
            " micrometres?"
        )
    return outlines


def _nuclei(path: Path, shape: tuple[int, int]) -> list[list[Ring]]:
    features = list(enumerate(_features(path)))
    drawn = [(number, item) for number, item in features if _kind(item) in ("detection", "cell")]
    nuclei, outside = [], 0
    for number, feature in drawn or features:
        rings = _rings(path, number, feature)
        if rings and not _touches(rings, shape):
            outside += 1
        elif rings:
            nuclei.append(rings)
    if outside and not nuclei:
        raise ImageError(
            f"{path}: all {outside} nuclei lie outside the image of {shape[0]} x {shape[1]} px;"
            " is it another image's, or in micrometres?"
        )
    if outside:
        log.warning("%s: %d nuclei outside the image are left out", path, outside)
    return nuclei


def _features(path: Path) -> list[Any]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            text = stream.read(LARGEST_BYTES + 1)
        if len(text) > LARGEST_BYTES:  # a few packed megabytes can become any number
            raise ImageError(f"{path}: over {LARGEST_BYTES // 2**30} GiB; export it in parts")
        found = json.loads(text)
    except ImageError:
        raise
    except (OSError, ValueError, EOFError, RecursionError) as error:
        what = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise ImageError(f"{path}: no valid GeoJSON: {what}; export it again") from error
    if isinstance(found, dict) and isinstance(found.get("features"), list):
        return list(found["features"])
    if isinstance(found, list):
        return found
    if isinstance(found, dict) and found.get("type") == "Feature":
        return [found]
    raise ImageError(f"{path}: holds no features; expected a GeoJSON FeatureCollection")


def _kind(feature: Any) -> str:
    properties = feature.get("properties") if isinstance(feature, dict) else None
    properties = properties if isinstance(properties, dict) else {}
    kind = properties.get("objectType", properties.get("object_type", ""))
    return str(kind).casefold()


def _rings(path: Path, number: int, feature: Any) -> list[Ring]:
    """All rings of a feature; holes among them, which the odd-even rule cuts out."""
    try:
        geometry = feature.get("nucleusGeometry") or feature["geometry"]
        kind = geometry["type"]
        if kind in ("Point", "MultiPoint", "LineString", "MultiLineString"):
            return []
        coordinates = geometry["coordinates"]
        polygons = {"Polygon": [coordinates], "MultiPolygon": coordinates}[kind]
        rings = [np.array(ring, np.float64)[:, 1::-1] for rings in polygons for ring in rings]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ImageError(
            f"{path}: feature {number}: no Polygon or MultiPolygon of [x, y] pairs"
        ) from error
    for ring in rings:
        require_coordinates(f"{path}: feature {number}", ring)
        if len(ring) < 4 or (ring[0] != ring[-1]).any():
            raise ImageError(f"{path}: feature {number}: a ring is not closed")
    return rings


def _touches(rings: list[Ring], shape: tuple[int, int]) -> bool:
    points = np.concatenate(rings)
    return bool((points.max(axis=0) > 0).all() and (points.min(axis=0) < shape).all())
