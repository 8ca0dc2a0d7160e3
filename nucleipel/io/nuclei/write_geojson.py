"""The nuclei of one image as QuPath's objects, in GeoJSON, plain or gzipped.

A FeatureCollection with one feature a line. A feature has QuPath's own
members: `id` (a UUID, the same for the same nuclei), `objectType` and
`measurements`, which are the table's columns; one that is not known is left out.
QuPath's `detection` has an outline, its `annotation` can be edited, its `cell` has a nucleus
inside (`nucleusGeometry`).
"""

import gzip
import json
import math
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import repeat
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.measured_nuclei import MeasuredNuclei, Outline, closed_xy
from nucleipel.core.wkb import to_wkb
from nucleipel.io.nuclei.table_format import TableHeader, Write

DECIMALS = 4


def encode_geojson(rows: MeasuredNuclei, header: TableHeader) -> bytes:
    """The features of some rows, one a line."""
    nuclei = rows.nuclei or repeat(None, len(rows.outlines))
    records = zip(records_of(rows.columns), rows.outlines, nuclei, strict=True)
    return ",\n".join(_feature(*record, header) for record in records).encode("ascii")


@contextmanager
def open_geojson(path: Path, _: TableHeader) -> Iterator[Write]:
    """Open a GeoJSON file, compressed if `path` ends in .gz."""
    with ExitStack() as stack:
        stream = _open(path, stack)
        separator = b'{"type":"FeatureCollection","features":[\n'

        def write(encoded: bytes) -> None:
            nonlocal separator
            if encoded:
                stream.write(separator)
                stream.write(encoded)
                separator = b",\n"

        yield write
        if separator != b",\n":
            stream.write(separator)
        stream.write(b"\n]}\n")


def _open(path: Path, stack: ExitStack) -> IO[bytes] | gzip.GzipFile:
    raw = stack.enter_context(path.open("wb"))
    if path.suffix != ".gz":
        return raw
    # without a name and a time in it: the same nuclei give the same bytes
    return stack.enter_context(gzip.GzipFile("", "wb", 6, raw, mtime=0))


def records_of(columns: dict[str, npt.NDArray[np.generic]]) -> Iterator[dict[str, Any]]:
    """Convert each row to plain JSON types, floats rounded, NaN left out."""
    values = []
    for column in columns.values():
        if column.dtype.kind == "f":
            rounded = np.round(column.astype(np.float64), DECIMALS).tolist()
            values.append([None if math.isnan(value) else value for value in rounded])
        else:
            values.append(column.tolist())
    for row in zip(*values, strict=True):
        yield {name: value for name, value in zip(columns, row, strict=True) if value is not None}


def _feature(
    row: dict[str, Any], outline: Outline, nucleus: Outline | None, header: TableHeader
) -> str:
    feature = {
        "type": "Feature",
        "id": str(uuid.uuid5(header.unique, str(row["id"]))),
        "properties": {"objectType": header.kind, "measurements": row},
    }
    text = json.dumps(feature, separators=(",", ":"))[:-1]
    text += f',"geometry":{_geometry(outline, header.simplify_px)}'
    if nucleus is not None:
        text += f',"nucleusGeometry":{_geometry(nucleus, header.simplify_px)}'
    return text + "}"


def _geometry(outline: Outline, simplify_px: float) -> str:
    """An outline as the text of a GeoJSON geometry, (x, y) in pixels."""
    if simplify_px:
        import shapely

        simple = shapely.simplify(shapely.from_wkb(to_wkb(outline)), simplify_px)
        return json.dumps(shapely.geometry.mapping(simple), separators=(",", ":"))
    polygons = [[closed_xy(ring).tolist() for ring in rings] for rings in outline]
    kind, shown = ("Polygon", polygons[0]) if len(polygons) == 1 else ("MultiPolygon", polygons)
    # corners lie on halves: a whole number needs no ".0"
    corners = json.dumps(shown, separators=(",", ":")).replace(".0,", ",").replace(".0]", "]")
    return f'{{"type":"{kind}","coordinates":{corners}}}'
