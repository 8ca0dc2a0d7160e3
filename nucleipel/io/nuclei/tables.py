"""The nuclei of one image as tables: `nuclei.parquet` (GeoParquet), `nuclei.csv`, GeoJSON.

All are written in one pass, some rows at a time; nothing here holds all of
them. The bytes of a file depend on its rows only, not on how these came.
"""

import csv
import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.choices import GeoJson
from nucleipel.core.nucleus_rows import NucleusRows, Write
from nucleipel.core.wkb import to_wkb
from nucleipel.io.nuclei.geojson import GEOJSON, GEOJSON_GZ, open_geojson

TABLE, CSV_TABLE = "nuclei.parquet", "nuclei.csv"
ROWS_PER_GROUP = 2**15


def write_nuclei(
    folder: Path,
    nuclei: Iterable[NucleusRows],
    *,
    about: dict[str, Any],
    unique: uuid.UUID,
    as_csv: bool = False,
    geojson: GeoJson = "none",
) -> int:
    """Write the tables of an image into `folder`; returns how many nuclei there were.

    The first of `nuclei` names the columns, and may have no rows. `about` is
    plain JSON types, kept in the metadata of the parquet file; `unique` names
    this set of nuclei.
    """
    writers = [open_parquet(folder / TABLE, about)]
    if as_csv:
        writers.append(open_csv(folder / CSV_TABLE))
    if geojson != "none":
        name = GEOJSON if geojson == "plain" else GEOJSON_GZ
        writers.append(open_geojson(folder / name, unique=unique))
    count = 0
    with ExitStack() as stack:
        writes = [stack.enter_context(writer) for writer in writers]
        for rows in nuclei:
            count += len(rows.outlines)
            for write in writes:
                write(rows)
    return count


@contextmanager
def open_parquet(path: Path, about: dict[str, Any]) -> Iterator[Write]:
    """GeoParquet 1.1, zstd, in groups of `ROWS_PER_GROUP` rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    waiting: list[pa.Table] = []
    kinds: set[str] = set()
    writer: pq.ParquetWriter | None = None

    def put(table: pa.Table) -> None:
        nonlocal writer
        if writer is None:
            writer = pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table, row_group_size=ROWS_PER_GROUP)

    def write(rows: NucleusRows) -> None:
        columns = {
            name: pa.array(values, from_pandas=True) for name, values in rows.columns.items()
        }
        shapes = pa.array([to_wkb(outline) for outline in rows.outlines], pa.binary())
        kinds.update("Polygon" if len(line) == 1 else "MultiPolygon" for line in rows.outlines)
        waiting.append(pa.table({**columns, "geometry": shapes}))
        while sum(map(len, waiting)) >= ROWS_PER_GROUP:
            whole = pa.concat_tables(waiting)
            put(whole[:ROWS_PER_GROUP])
            waiting[:] = [whole[ROWS_PER_GROUP:]]

    yield write
    put(pa.concat_tables(waiting))
    if writer is not None:
        geometry = {
            "encoding": "WKB",
            "geometry_types": sorted(kinds),
            "crs": None,
            "edges": "planar",
            "orientation": "counterclockwise",
        }
        geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
        writer.add_key_value_metadata({"geo": json.dumps(geo), "nucleipel": json.dumps(about)})
        writer.close()


@contextmanager
def open_csv(path: Path) -> Iterator[Write]:
    """All columns but the geometry; NaN is an empty cell, other floats have four decimals."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")

        def write(rows: NucleusRows) -> None:
            if stream.tell() == 0:
                writer.writerow(rows.columns)
            cells = (map(_cell, values) for values in rows.columns.values())
            writer.writerows(zip(*cells, strict=True))

        yield write


def _cell(value: np.generic) -> str:
    if isinstance(value, np.floating):
        return "" if np.isnan(value) else f"{value:.4f}"
    return str(value)
