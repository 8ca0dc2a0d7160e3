"""The nuclei of one image as QuPath's detection objects, in GeoJSON, plain or gzipped.

A FeatureCollection with one feature a line. A feature has QuPath's own
members: `id` (a UUID, the same for the same nuclei), `objectType` and
`measurements`, which are the table's columns; one that is not known is left out.
"""

import gzip
import json
import math
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.measured_nuclei import MeasuredNuclei, Outline, closed_xy
from nucleipel.io.nuclei.table_format import TableHeader, Write

DECIMALS = 4


def encode_geojson(rows: MeasuredNuclei, header: TableHeader) -> bytes:
    """The features of some rows, one a line."""
    records = zip(records_of(rows.columns), rows.outlines, strict=True)
    return ",\n".join(_feature(row, line, header.unique) for row, line in records).encode("ascii")


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


def _feature(row: dict[str, Any], outline: Outline, unique: uuid.UUID) -> str:
    feature = {
        "type": "Feature",
        "id": str(uuid.uuid5(unique, str(row["id"]))),
        "properties": {"objectType": "detection", "measurements": row},
    }
    text = json.dumps(feature, separators=(",", ":"))
    return f'{text[:-1]},"geometry":{geometry_of(outline)}}}'


def geometry_of(outline: Outline) -> str:
    """An outline as the text of a GeoJSON geometry, (x, y) in pixels."""
    polygons = [[closed_xy(ring).tolist() for ring in rings] for rings in outline]
    kind, shown = ("Polygon", polygons[0]) if len(polygons) == 1 else ("MultiPolygon", polygons)
    # corners lie on halves: a whole number needs no ".0"
    corners = json.dumps(shown, separators=(",", ":")).replace(".0,", ",").replace(".0]", "]")
    return f'{{"type":"{kind}","coordinates":{corners}}}'
