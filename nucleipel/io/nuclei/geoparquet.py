"""The nuclei of one image as GeoParquet: all columns, and the outlines as WKB."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nucleipel.core.nucleus_rows import NucleusRows, Write
from nucleipel.core.wkb import to_wkb
from nucleipel.io.nuclei.table_format import TableHeader

ROWS_PER_GROUP = 2**15


@contextmanager
def open_geoparquet(path: Path, header: TableHeader) -> Iterator[Write]:
    """Open a table of GeoParquet 1.1, zstd, in groups of `ROWS_PER_GROUP` rows."""
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
        writer.add_key_value_metadata(
            {"geo": json.dumps(geo), "nucleipel": json.dumps(header.about)}
        )
        writer.close()
