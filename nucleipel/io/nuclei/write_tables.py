"""Formats for the nuclei of one image, one entry each, all written in one pass.

Rows come some at a time: nothing here holds all of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nucleipel.core.measured_nuclei import MeasuredNuclei
from nucleipel.io.nuclei.table_format import TableFormat, TableHeader
from nucleipel.io.nuclei.write_csv import encode_csv, open_csv
from nucleipel.io.nuclei.write_geojson import encode_geojson, open_geojson
from nucleipel.io.nuclei.write_geoparquet import encode_geoparquet, open_geoparquet

TABLES: dict[str, TableFormat] = {
    "parquet": TableFormat("parquet", encode_geoparquet, open_geoparquet),
    "csv": TableFormat("csv", encode_csv, open_csv),
    "geojson": TableFormat("geojson", encode_geojson, open_geojson),
    "geojson.gz": TableFormat("geojson.gz", encode_geojson, open_geojson),
}


def encode_tables(
    rows: MeasuredNuclei, header: TableHeader, tables: Sequence[str]
) -> dict[str, bytes]:
    """Some rows as each format has them, by its name."""
    return {name: TABLES[name].encode(rows, header) for name in tables}


@contextmanager
def open_tables(
    folder: Path, header: TableHeader, tables: Sequence[str], *, of: str = "nuclei"
) -> Iterator[Callable[[Mapping[str, bytes]], None]]:
    """Open the files of some formats; gives a function that writes what `encode_tables` gave.

    The files are named by what they are `of`.
    """
    with ExitStack() as stack:
        writes = {
            name: stack.enter_context(
                TABLES[name].open(folder / f"{of}.{TABLES[name].suffix}", header)
            )
            for name in tables
        }

        def write(encoded: Mapping[str, bytes]) -> None:
            for name, write_rows in writes.items():
                write_rows(encoded[name])

        yield write
