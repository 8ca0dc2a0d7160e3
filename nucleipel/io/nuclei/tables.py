"""Formats for the nuclei of one image, one entry each, all written in one pass.

Rows come some at a time: nothing here holds all of them.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from nucleipel.core.nucleus_rows import NucleusRows
from nucleipel.io.nuclei.csv_cells import open_csv
from nucleipel.io.nuclei.geojson import open_geojson
from nucleipel.io.nuclei.geoparquet import open_geoparquet
from nucleipel.io.nuclei.table_format import TableFormat, TableHeader

TABLES: dict[str, TableFormat] = {
    "parquet": TableFormat("nuclei.parquet", open_geoparquet),
    "csv": TableFormat("nuclei.csv", open_csv),
    "geojson": TableFormat("nuclei.geojson", open_geojson),
    "geojson.gz": TableFormat("nuclei.geojson.gz", open_geojson),
}


def write_nuclei(
    folder: Path,
    nuclei: Iterable[NucleusRows],
    header: TableHeader,
    *,
    tables: Sequence[str] = ("parquet",),
) -> int:
    """Write the nuclei of an image into `folder`, in formats of `TABLES`; returns their number.

    The first of `nuclei` names the columns, and may have no rows.
    """
    count = 0
    with ExitStack() as stack:
        formats = [TABLES[name] for name in tables]
        writes = [stack.enter_context(kind.open(folder / kind.file, header)) for kind in formats]
        for rows in nuclei:
            count += len(rows.outlines)
            for write in writes:
                write(rows)
    return count
