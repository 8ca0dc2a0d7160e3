"""GeoJSON as QuPath and others write it: features with an outline, a kind and names.

Where the kind of an object stands changed with QuPath's versions: the
feature's `id` (`PathDetectionObject`, 0.2), the property `object_type` (0.3),
`objectType` (since then). A class is an object with a `name` or `names`, or a plain text.
"""

import contextlib
import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.measured_nuclei import Outline
from nucleipel.errors import ImageError
from nucleipel.io.annotations.polygons import require_coordinates

LARGEST_BYTES = 2**30
KINDS_OF_IDS = {
    "pathdetectionobject": "detection",
    "pathcellobject": "cell",
    "pathannotationobject": "annotation",
    "pathtileobject": "tile",
    "tmacoreobject": "tmacore",
    "pathrootobject": "root",
}
WITH_AREA = ("Polygon", "MultiPolygon", "GeometryCollection")
WITHOUT_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")


@dataclass(frozen=True, slots=True)
class Feature:
    """One object of a file.

    Parameters
    ----------
    number : int
        Its place in the file, from 0.
    kind : str
        detection, cell, annotation, tile, tmacore or root; "" where nothing says it.
    names : tuple of str
        Its classes, one by one and joined with ": " as QuPath shows them, and its own name.
    outline : Outline
        Its polygons in pixels, of a cell those of its nucleus; empty for points and lines.
    has_nucleus : bool
        Whether it is a cell with a nucleus of its own.
    classes : tuple of str
        Of `names` those of its classes.
    """

    number: int
    kind: str
    names: tuple[str, ...]
    outline: Outline
    has_nucleus: bool = False
    classes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"feature {self.number}" + (f" ({self.names[-1]})" if self.names else "")


def read_features(path: Path) -> list[Feature]:
    """Every feature of a GeoJSON file, gzipped or not.

    Raises
    ------
    ImageError
        If it is no GeoJSON, or too large; with the number of the feature at fault.
    """
    features = []
    for number, item in enumerate(_items(path)):
        outline = _outline(f"{path}: feature {number}", item)
        has_nucleus = bool(item.get("nucleusGeometry"))
        features.append(feature_of(number, _properties(item), outline, has_nucleus, _id_of(item)))
    return features


def _items(path: Path) -> list[Any]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            text = stream.read(LARGEST_BYTES + 1)
        if len(text) > LARGEST_BYTES:  # a few packed megabytes can become any number
            raise ImageError(f"{path}: over {LARGEST_BYTES // 2**30} GiB; export it in parts")
        content = json.loads(text)
    except ImageError:
        raise
    except (OSError, ValueError, EOFError, RecursionError) as error:
        what = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise ImageError(f"{path}: no valid GeoJSON: {what}; export it again") from error
    if isinstance(content, dict) and isinstance(content.get("features"), list):
        return list(content["features"])
    if isinstance(content, list):
        return content
    if isinstance(content, dict) and content.get("type") == "Feature":
        return [content]
    if isinstance(content, dict) and "coordinates" in content:
        return [{"geometry": content}]
    raise ImageError(f"{path}: holds no features; expected a GeoJSON FeatureCollection")


def _properties(item: Any) -> dict[str, Any]:
    properties = item.get("properties") if isinstance(item, dict) else None
    return properties if isinstance(properties, dict) else {}


def _id_of(item: Any) -> str:
    identity = item.get("id") if isinstance(item, dict) else None
    return identity.casefold() if isinstance(identity, str) else ""


def feature_of(
    number: int,
    properties: dict[str, Any],
    outline: Outline,
    has_nucleus: bool = False,
    identity: str = "",
) -> Feature:
    """A feature of its outline and of what its properties, or a row's columns, say of it."""
    kinds = (properties.get(key) for key in ("objectType", "object_type"))
    kind = next((value.casefold() for value in kinds if isinstance(value, str)), "")
    kind = kind or KINDS_OF_IDS.get(identity, "")
    kind = KINDS_OF_IDS.get(kind, kind)
    classes = tuple(dict.fromkeys(_classes(properties)))
    name = properties.get("name")
    names = (name, *classes) if isinstance(name, str) and name and name not in classes else classes
    return Feature(number, kind, names, outline, has_nucleus, classes)


def _classes(properties: dict[str, Any]) -> list[str]:
    values: list[Any] = []
    for key in ("classification", "class", "type", "label", "category"):
        value = properties.get(key)
        if isinstance(value, str) and value.startswith("{"):  # a column of GDAL or geopandas
            with contextlib.suppress(ValueError):
                value = json.loads(value)
        if isinstance(value, dict):
            parts = value.get("names")
            values.append(value.get("name"))
            if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
                values += [*parts, ": ".join(parts)]
        else:
            values.append(value)
    return [value for value in values if isinstance(value, str) and value]


def _outline(where: str, item: Any) -> Outline:
    try:
        polygons = _polygons(item.get("nucleusGeometry") or item["geometry"])
        outline = [
            [np.array(ring, np.float64)[:, 1::-1] for ring in polygon]
            for polygon in polygons
            if polygon
        ]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ImageError(f"{where}: no Polygon or MultiPolygon of [x, y] pairs") from error
    for ring in (ring for polygon in outline for ring in polygon):
        require_coordinates(where, ring)
        if len(ring) < 4 or (ring[0] != ring[-1]).any():
            raise ImageError(f"{where}: a ring is not closed")
    return outline


def _polygons(geometry: Any) -> list[Any]:
    """Lists of rings; none of points, lines, and of an object without a place."""
    if geometry is None or geometry["type"] in WITHOUT_AREA:
        return []
    if geometry["type"] == "GeometryCollection":
        parts = [part for part in geometry["geometries"] if part["type"] in WITH_AREA]
        return [polygon for part in parts for polygon in _polygons(part)]
    polygons: dict[str, list[Any]] = {
        "Polygon": [geometry["coordinates"]],
        "MultiPolygon": geometry["coordinates"],
    }
    return polygons[geometry["type"]]
