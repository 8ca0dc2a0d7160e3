"""The nuclei of one image as GeoParquet: all columns, and the outlines as WKB."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.measured_nuclei import MeasuredNuclei, Outline
from nucleipel.core.wkb import kind_of_wkb, outline_of_wkb, to_wkb
from nucleipel.io.nuclei.table_format import TableHeader, Write

ROWS_PER_GROUP = 2**15
GEOMETRY = "geometry"


def encode_geoparquet(rows: MeasuredNuclei, _: TableHeader) -> bytes:
    """Some rows as a stream of Arrow's IPC format."""
    import pyarrow as pa

    table = arrow_table(rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def arrow_table(rows: MeasuredNuclei) -> Any:
    """Some rows as an Arrow table, outlines as WKB."""
    import pyarrow as pa

    columns = {name: _column(values) for name, values in rows.columns.items()}
    return pa.table({**columns, GEOMETRY: _binary([to_wkb(line) for line in rows.outlines])})


def _column(values: npt.NDArray[Any]) -> Any:
    """An Arrow array of numbers, NaN as null; not by `pa.array`, which imports pandas."""
    import pyarrow as pa

    known = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(len(values), bool)
    bits = None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
    content = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [bits, content])


def _numbers(column: Any) -> npt.NDArray[Any]:
    """The numbers of an Arrow column, null as NaN; not by `to_numpy`, which imports pandas."""
    array = column.combine_chunks()
    bits, content = array.buffers()
    part = slice(array.offset, array.offset + len(array))
    values = np.frombuffer(content or b"", array.type.to_pandas_dtype())[part].copy()
    if array.null_count:
        values[np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")[part] == 0] = np.nan
    return values


def _binary(pieces: list[bytes]) -> Any:
    """An Arrow array of bytes."""
    import pyarrow as pa

    ends = pa.py_buffer(np.cumsum([0, *map(len, pieces)], dtype=np.int32))
    return pa.Array.from_buffers(
        pa.binary(), len(pieces), [None, ends, pa.py_buffer(b"".join(pieces))]
    )


def decode_geoparquet(encoded: bytes) -> MeasuredNuclei:
    """The rows that `encode_geoparquet` was given; outlines are unpacked when they are indexed."""
    return rows_of_table(_table(encoded))


def rows_of_table(table: Any) -> MeasuredNuclei:
    """The rows of an Arrow table that `arrow_table` made."""
    columns = {name: _numbers(table[name]) for name in table.column_names if name != GEOMETRY}
    return MeasuredNuclei(columns, _Outlines(table[GEOMETRY].to_pylist()))


class _Outlines(Sequence[Outline]):
    def __init__(self, packed: list[bytes]) -> None:
        self._packed = packed

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, index: Any) -> Any:
        # the first corner stands once in an outline, twice in a file
        return [[ring[:-1] for ring in rings] for rings in outline_of_wkb(self._packed[index])]


def _table(encoded: bytes) -> Any:
    import pyarrow as pa

    with pa.ipc.open_stream(encoded) as stream:
        return stream.read_all()


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

    def write(encoded: bytes) -> None:
        waiting.append(_table(encoded))
        kinds.update(map(kind_of_wkb, waiting[-1][GEOMETRY].to_pylist()))
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
        geo = {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: geometry}}
        writer.add_key_value_metadata(
            {"geo": json.dumps(geo), "nucleipel": json.dumps(header.about)}
        )
        writer.close()
