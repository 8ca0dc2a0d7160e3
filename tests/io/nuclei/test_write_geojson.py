"""QuPath's detections: JSON written in parts, whose outlines draw the instance map again."""

import gzip
import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nucleipel.core.geometry import Box
from nucleipel.core.measured_nuclei import MeasuredNuclei
from nucleipel.data.synthetic.generated_map import build_probability_map
from nucleipel.instances.measurements import measure_nuclei
from nucleipel.instances.output_frame import OutputMap
from nucleipel.instances.segment_map import segment_instances
from nucleipel.io.annotations import FORMATS, ImportOptions
from nucleipel.io.nuclei.table_format import TableHeader
from nucleipel.io.nuclei.write_geojson import encode_geojson, open_geojson

UNIQUE = uuid.UUID(int=7)
RING = np.array([[0.0, 0.5], [0.0, 8.5], [8.0, 8.5], [8.0, 0.5]])
HOLE = np.array([[2.0, 2.0], [3.0, 2.0], [3.0, 3.0], [2.0, 3.0]])


def _write(path: Path, parts: list[MeasuredNuclei]) -> bytes:
    with open_geojson(path, TableHeader({}, UNIQUE)) as write:
        for part in parts:
            write(encode_geojson(part, TableHeader({}, UNIQUE)))
    return path.read_bytes()


def _rows(*ids: int) -> MeasuredNuclei:
    area = np.array([np.nan if i % 2 else i / 3 for i in ids], np.float64)
    outlines = [[[RING, HOLE]] if i < 3 else [[RING], [HOLE[::-1]]] for i in ids]
    return MeasuredNuclei({"id": np.array(ids, np.int64), "area_um2": area}, outlines)


def test_features_are_detections_with_measurements(tmp_path: Path) -> None:
    text = _write(tmp_path / "a.geojson", [_rows(), _rows(1, 2), _rows(), _rows(3)])
    collection = json.loads(text)
    assert collection["type"] == "FeatureCollection"
    one, two, three = collection["features"]
    assert one["properties"] == {"objectType": "detection", "measurements": {"id": 1}}
    assert two["properties"]["measurements"] == {"id": 2, "area_um2": 0.6667}
    assert one["geometry"] == {
        "type": "Polygon",
        "coordinates": [
            [[0.5, 0], [8.5, 0], [8.5, 8], [0.5, 8], [0.5, 0]],
            [[2, 2], [2, 3], [3, 3], [3, 2], [2, 2]],
        ],
    }
    assert three["geometry"]["type"] == "MultiPolygon"
    assert [len(rings) for rings in three["geometry"]["coordinates"]] == [1, 1]
    names = {uuid.UUID(feature["id"]) for feature in collection["features"]}
    assert len(names) == 3
    assert text == _write(tmp_path / "b.geojson", [_rows(1), _rows(2, 3)])


def test_compressed_and_empty(tmp_path: Path) -> None:
    plain = _write(tmp_path / "a.geojson", [_rows(1, 2)])
    packed = _write(tmp_path / "a.geojson.gz", [_rows(1, 2)])
    assert gzip.decompress(packed) == plain
    assert packed == _write(tmp_path / "b.geojson.gz", [_rows(1), _rows(2)]), "no name, no time"
    empty = json.loads(_write(tmp_path / "c.geojson", [_rows()]))
    assert empty == {"type": "FeatureCollection", "features": []}


@pytest.mark.parametrize("ratio", [1.0, 2.3])
def test_outlines_draw_the_instance_map_again(tmp_path: Path, ratio: float) -> None:
    """By our own importer of QuPath's files, which draws polygons its own way."""
    found = segment_instances(build_probability_map(Box.of_shape((256, 256)), seed=5))
    shape = round(256 * ratio), round(256 * ratio)
    drawn = OutputMap(found.map, nuclei=len(found.table), shape=shape, ratio=ratio)
    _write(tmp_path / "a.geojson", list(measure_nuclei(found.table, drawn, mpp=0.5)))
    Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / "a.png")
    (source,) = FORMATS["qupath"](tmp_path, ImportOptions())
    whole, back = drawn[:, :], source.nuclei.instance_map
    assert back.max() == whole.max() > 50
    for nucleus in range(1, whole.max() + 1):
        here, there = whole == nucleus, back == nucleus
        if here.sum() > 30:
            assert (here & there).sum() / (here | there).sum() >= 0.95
    assert (whole != back).mean() < 1e-3
