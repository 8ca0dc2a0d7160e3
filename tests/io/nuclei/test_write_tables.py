"""The tables of nuclei, written in parts, are read back whole by other libraries."""

import csv
import json
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.whole_outputs import write_nuclei

from nucleipel.core.measured_nuclei import MeasuredNuclei, Outline
from nucleipel.core.wkb import to_wkb
from nucleipel.io.nuclei.table_format import TableHeader
from nucleipel.io.nuclei.write_geoparquet import ROWS_PER_GROUP, arrow_table, rows_of_table
from nucleipel.io.nuclei.write_tables import TABLES

SQUARE = np.array([[0.0, 0.5], [0.0, 8.5], [8.0, 8.5], [8.0, 0.5]])
HOLE = np.array([[2.0, 2.0], [3.0, 2.0], [3.0, 3.0], [2.0, 3.0]])
ABOUT = {"image": "a", "shape_px": [9, 9], "mpp": 0.5}
HEADER = TableHeader(ABOUT, uuid.UUID(int=1))


def _rows(start: int, stop: int, outline: Outline) -> MeasuredNuclei:
    ids = np.arange(start, stop)
    area = np.where(ids % 2 == 0, np.nan, ids / 4)
    return MeasuredNuclei({"id": ids, "area_um2": area}, [outline] * len(ids))


def _read_wkb(data: bytes) -> list[list[list[tuple[float, float]]]]:
    """Polygons of rings of (x, y): a reader of our own, after OGC 06-103r4."""
    kind, count = np.frombuffer(data, "<u4", 2, 1).tolist()
    assert data[0] == 1
    at = 9
    if kind == 6:
        polygons = []
        for _ in range(count):
            size = _polygon_bytes(data[at:])
            polygons += _read_wkb(data[at : at + size])
            at += size
        assert at == len(data)
        return polygons
    assert kind == 3
    rings = []
    for _ in range(count):
        (points,) = np.frombuffer(data, "<u4", 1, at).tolist()
        corners = np.frombuffer(data, "<f8", 2 * points, at + 4).reshape(-1, 2)
        rings.append([tuple(corner) for corner in corners.tolist()])
        at += 4 + 16 * points
    assert at == len(data)
    return [rings]


def _polygon_bytes(data: bytes) -> int:
    at = 9
    for _ in range(int(np.frombuffer(data, "<u4", 1, 5)[0])):
        at += 4 + 16 * int(np.frombuffer(data, "<u4", 1, at)[0])
    return at


def test_outlines_as_well_known_binary() -> None:
    ring = [(0.5, 0.0), (8.5, 0.0), (8.5, 8.0), (0.5, 8.0), (0.5, 0.0)]
    hole = [(2.0, 2.0), (2.0, 3.0), (3.0, 3.0), (3.0, 2.0), (2.0, 2.0)]
    assert _read_wkb(to_wkb([[SQUARE, HOLE]])) == [[ring, hole]]
    assert _read_wkb(to_wkb([[SQUARE], [HOLE]])) == [[ring], [hole]]


def test_a_table_of_parts(tmp_path: Path) -> None:
    parts = [_rows(1, 3, [[SQUARE, HOLE]]), _rows(3, 3, []), _rows(3, 4, [[SQUARE]])]
    assert write_nuclei(tmp_path, parts, HEADER, tables=["parquet", "csv"]) == 3
    table = pq.read_table(tmp_path / "nuclei.parquet")
    assert table.column_names == ["id", "area_um2", "geometry"]
    assert table["id"].to_pylist() == [1, 2, 3]
    assert table["area_um2"].to_pylist() == [0.25, None, 0.75]
    assert [len(_read_wkb(data)[0]) for data in table["geometry"].to_pylist()] == [2, 2, 1]
    metadata = pq.read_metadata(tmp_path / "nuclei.parquet").metadata
    geo = json.loads(metadata[b"geo"])
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    assert geo["columns"]["geometry"]["encoding"] == "WKB"
    assert geo["columns"]["geometry"]["geometry_types"] == ["Polygon"]
    assert geo["columns"]["geometry"]["crs"] is None
    assert json.loads(metadata[b"nucleipel"]) == ABOUT
    with (tmp_path / "nuclei.csv").open() as stream:
        rows = list(csv.reader(stream))
    assert rows == [["id", "area_um2"], ["1", "0.2500"], ["2", ""], ["3", "0.7500"]]


def test_no_csv_without_its_option_and_no_rows(tmp_path: Path) -> None:
    assert write_nuclei(tmp_path, [_rows(1, 1, [])], HEADER) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["nuclei.parquet"]
    table = pq.read_table(tmp_path / "nuclei.parquet")
    assert (len(table), table.column_names) == (0, ["id", "area_um2", "geometry"])
    assert table.schema.field("area_um2").type == pa.float64()


@pytest.mark.parametrize("step", [1000, ROWS_PER_GROUP + 1, 10**6])
def test_row_groups_do_not_depend_on_the_parts(tmp_path: Path, step: int) -> None:
    total = 2 * ROWS_PER_GROUP + 5
    for folder, size in (("one", total), ("other", step)):
        (tmp_path / folder).mkdir()
        parts = (
            _rows(start, min(start + size, total + 1), [[SQUARE]])
            for start in range(1, total + 1, size)
        )
        write_nuclei(tmp_path / folder, parts, HEADER)
    one, other = (tmp_path / name / "nuclei.parquet" for name in ("one", "other"))
    metadata = pq.read_metadata(one)
    groups = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    assert groups == [ROWS_PER_GROUP, ROWS_PER_GROUP, 5]
    assert one.read_bytes() == other.read_bytes()


def test_every_table_that_settings_name_is_there_under_its_file_name(tmp_path: Path) -> None:
    from nucleipel.config import StitchConfig

    named = {
        name
        for geojson in ("plain", "gz", "none")
        for name in StitchConfig(csv=True, geojson=geojson).tables
    }
    assert named == TABLES.keys()
    write_nuclei(tmp_path, [_rows(1, 3, [[SQUARE]])], HEADER, tables=list(TABLES))
    assert {path.name for path in tmp_path.iterdir()} == {
        f"nuclei.{kind.suffix}" for kind in TABLES.values()
    }


@pytest.mark.parametrize("parts", [[], [range(5)], [range(5), range(3, 30)]])
def test_rows_of_a_table_come_back_from_any_pieces_of_it(parts: list[range]) -> None:
    tables = [arrow_table(_rows(0, 40, [[SQUARE]]))[part.start : part.stop] for part in parts]
    table = pa.concat_tables([*tables, arrow_table(_rows(0, 0, [[SQUARE]]))])
    ids = [number for part in parts for number in part]
    columns = rows_of_table(table).columns
    assert columns["id"].tolist() == ids
    expected = [np.nan if number % 2 == 0 else number / 4 for number in ids]
    np.testing.assert_array_equal(columns["area_um2"], expected)
