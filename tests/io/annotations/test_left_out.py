"""Objects that are no nuclei are left out by kind and class, counted and named, in every format."""

import json
import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.command_line import refusal

from nucleipel.config import ImportConfig
from nucleipel.errors import ImageError
from nucleipel.io.annotations import ImportOptions, coco
from nucleipel.io.annotations.annotation import read_nuclei
from nucleipel.io.annotations.geoparquet import write_polygons
from nucleipel.io.annotations.objects import Drawn
from nucleipel.io.annotations.polygons import Polygons
from nucleipel.io.manifest import Row, read_manifest
from nucleipel.stages.files.import_annotations import import_annotations

SIDE = 400
CENTERS = [(50 + 100 * i, 50 + 100 * j) for i in range(4) for j in range(4)]
Corners = list[list[float]]


def disc(y: float, x: float, radius: float = 10) -> Corners:
    """A closed ring of (x, y)."""
    turns = [2 * math.pi * step / 24 for step in range(24)]
    ring = [[x + radius * math.cos(turn), y + radius * math.sin(turn)] for turn in turns]
    return [*ring, ring[0]]


def box(y0: float, x0: float, y1: float, x1: float) -> Corners:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]


def feature(ring: Corners, kind: str = "detection", *, of: str = "", **more: Any) -> dict[str, Any]:
    said = {"objectType": kind} | ({"classification": {"name": of}} if of else {})
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": said, **more}  # fmt: skip


NUCLEI = [feature(disc(*center)) for center in CENTERS]
BY_HAND = [feature(disc(*center), "annotation") for center in CENTERS]
BIG = box(5, 5, 300, 300)


def image(folder: Path) -> None:
    Image.fromarray(np.full((SIDE, SIDE), 50, np.uint8)).save(folder / "a.png")


def qupath(folder: Path, features: list[dict[str, Any]]) -> Path:
    image(folder)
    (folder / "a.geojson").write_text(json.dumps({"features": features}))
    return folder


def imported(kind: str, source: Path, out: Path) -> Row:
    out = out.parent.with_name(f"{out.parent.name}-{out.name}")  # not among what is imported
    (row,) = read_manifest(import_annotations(kind, source, out, ImportConfig())).rows
    return row


def count(row: Row) -> int:
    known = row.load_annotation((SIDE, SIDE))
    if isinstance(known.label, Path):
        return int(np.asarray(Image.open(known.label)).max())
    return len(known.label.polygons)


@pytest.mark.parametrize(
    ("others", "says"),
    [
        ([feature(BIG, "tile")], "1 of kind tile"),
        ([feature(BIG, "tmacore")], "1 of kind tmacore"),
        ([{"id": "PathTileObject", "geometry": NUCLEI[0]["geometry"]}], "1 of kind tile"),
        ([feature(BIG, of="Ignore*")] * 2, "2 of class Ignore*"),
        ([feature(disc(50, 50, 4), of="Subcellular spot: DAB")], "1 of class Subcellular spot"),
        ([feature(BIG, of="Artifact")], "1 of class Artifact"),
        ([feature(disc(50, 50, 20), "cell")] * 3, "3 cells without a nucleus"),
        ([feature(disc(50, 50, 20), "cell", nucleusGeometry=None)], "1 cells without a nucleus"),
        ([{"geometry": {"type": "Point", "coordinates": [1, 2]}}], "1 points, lines or objects"),
        ([{"geometry": None}], "1 points, lines or objects"),
    ],
)
@pytest.mark.parametrize("nuclei", [NUCLEI, BY_HAND], ids=["detected", "by hand"])
def test_qupath(tmp_path: Path, caplog, nuclei: list[dict], others: list[dict], says: str) -> None:
    row = imported("qupath", qupath(tmp_path, [*others, *nuclei]), tmp_path / "out")
    assert f"a.geojson: left out, as no nuclei: {says}" in caplog.text
    assert (count(row), row.region) == (16, None)
    (tmp_path / "a.geojson").write_text(json.dumps({"features": others}))
    with pytest.raises(ImageError, match=r"a\.geojson: holds no nuclei, but \d "):
        imported("qupath", tmp_path, tmp_path / "none")
    with pytest.raises(ImageError, match=r"a\.geojson: holds no nuclei, but \d "):
        read_nuclei(tmp_path / "a.geojson", (SIDE, SIDE))


def test_an_empty_file_is_no_image_without_nuclei_but_an_empty_region_is(tmp_path: Path) -> None:
    out = tmp_path / "out"
    message = refusal("import", "qupath", qupath(tmp_path, []), "--out", out, untouched=out)
    assert message.endswith("holds no nuclei; leave it out, or draw the region in which there are"
                            " none")  # fmt: skip
    qupath(tmp_path, [feature(BIG, "annotation", of="Region*")])
    row = imported("qupath", tmp_path, out)
    assert row.region is not None
    assert count(row) == 0


def test_a_collection_of_geometries_costs_no_file(tmp_path: Path) -> None:
    parts = [NUCLEI[0]["geometry"], {"type": "LineString", "coordinates": [[1, 1], [2, 2]]},
             {"type": "Circle", "radius": 3}]  # fmt: skip
    collection = {"geometry": {"type": "GeometryCollection", "geometries": parts}}
    assert count(imported("qupath", qupath(tmp_path, [collection, *BY_HAND[1:]]),
                          tmp_path / "out")) == 16  # fmt: skip


def test_sizes_that_are_hardly_nuclei_are_questioned(tmp_path: Path, caplog) -> None:
    large = feature(disc(200, 200, 60), of="Tumor")
    imported("qupath", qupath(tmp_path, [*NUCLEI, large]), tmp_path / "large")
    assert "the median object has 311 px, but feature 16 (Tumor) has 11181 px" in caplog.text
    assert "and holds 0" not in caplog.text
    caplog.clear()
    holding = feature(box(30, 30, 70, 170))
    imported("qupath", qupath(tmp_path, [*NUCLEI, holding]), tmp_path / "holding")
    assert "feature 16 has 5600 px and holds 2 others; is it a nucleus?" in caplog.text
    caplog.clear()
    um = [feature((np.array(each["geometry"]["coordinates"][0]) / 4).tolist()) for each in NUCLEI]
    imported("qupath", qupath(tmp_path, um), tmp_path / "um")
    assert "are they in micrometers?" in caplog.text
    caplog.clear()
    nm = [feature((np.array(each["geometry"]["coordinates"][0]) / 99).tolist()) for each in NUCLEI]
    with pytest.raises(ImageError, match="all 16 objects have no pixel or are too small"):
        imported("qupath", qupath(tmp_path, nm), tmp_path / "nm")
    caplog.clear()
    imported("qupath", qupath(tmp_path, NUCLEI), tmp_path / "good")
    assert "WARNING" not in caplog.text


def test_a_label_whose_regions_the_manifest_does_not_name(tmp_path: Path, caplog) -> None:
    region = feature(box(0, 0, 210, 210), "annotation", of="Region*")
    qupath(tmp_path, [region, *NUCLEI])
    (tmp_path / "m.csv").write_text("image,label,split,source_id\na.png,a.geojson,train,a\n")
    read_manifest(tmp_path / "m.csv")
    assert "holds 1 regions, which the manifest does not name" in caplog.text


def test_rows_of_other_tools(tmp_path: Path, caplog) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rings = [np.array(disc(*center))[:, ::-1] for center in CENTERS]
    write_polygons(tmp_path / "a.parquet", Polygons.of_outlines([[ring]] for ring in rings))
    table = pq.read_table(tmp_path / "a.parquet")
    kinds = ["detection"] * 12 + ["tile"] * 2 + ["cell"] * 2
    classes = ["Tumor"] * 11 + ['{"name": "Ignore*"}'] + [None] * 4
    said = table.append_column("objectType", pa.array(kinds))
    pq.write_table(said.append_column("classification", pa.array(classes)), tmp_path / "a.parquet")
    assert len(read_nuclei(tmp_path / "a.parquet", (SIDE, SIDE))) == 11
    assert "2 of kind tile, 2 cells without a nucleus, 1 of class Ignore*" in caplog.text


def _coco(folder: Path, others: list[dict[str, Any]], nuclei: int = 16) -> Path:
    image(folder)
    names = ["nucleus", "cell", "Ignore", "tissue"]
    flat = [np.ravel(disc(*center)[:-1]).tolist() for center in CENTERS[:nuclei]]
    annotations = [{"image_id": 1, "category_id": 0, "segmentation": [ring]} for ring in flat]
    content = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "gone.png"}],
        "annotations": [*annotations, *({"image_id": 1, **each} for each in others)],
        "categories": [{"id": index, "name": name} for index, name in enumerate(names)],
    }
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json"


SHAPE = [np.ravel(BIG[:-1]).tolist()]
CROWD = {"counts": [100, 80_000, SIDE * SIDE - 80_100], "size": [SIDE, SIDE]}


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"category_id": 0, "iscrowd": 1, "segmentation": CROWD}, "crowds (iscrowd)"),
        ({"category_id": 2, "segmentation": SHAPE}, "of category Ignore"),
        ({"category_id": 3, "segmentation": SHAPE}, "of category tissue"),
        ({"category_id": 1, "segmentation": SHAPE}, "of category cell"),
        ({"category_id": 0, "bbox": [1, 2, 30, 40]}, "boxes or points without an outline"),
        ({"category_id": 0, "segmentation": []}, "boxes or points without an outline"),
    ],
)
def test_coco(tmp_path: Path, caplog, other: dict, says: str) -> None:
    row = imported("coco", _coco(tmp_path, [other, other]), tmp_path / "out")
    assert f"a.png: left out, as no nuclei: 2 {says}" in caplog.text
    assert "a.json: left out, without annotations: 1 images (gone.png)" in caplog.text
    assert count(row) == 16
    if other["category_id"] != 1:  # cells alone may be what somebody calls nuclei
        with pytest.raises(ImageError, match=r"a\.png: holds no nuclei, but 1 "):
            imported("coco", _coco(tmp_path, [other], 0), tmp_path / "none")


Shape = Callable[[float, float], str]


def _region(corners: Corners, kind: str) -> str:
    points = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in corners)
    return f'<Region Id="1" Type="{kind}"><Vertices>{points}</Vertices></Region>'


def _aperio(folder: Path, regions: str, layers: str = "") -> Path:
    image(folder)
    (folder / "a.xml").write_text(
        f"<Annotations><Annotation><Regions>{regions}</Regions></Annotation>{layers}</Annotations>"
    )
    return folder


def test_imagescope_draws_ellipses_and_rectangles(tmp_path: Path, caplog) -> None:
    shapes = _region([[40, 20], [80, 50]], "2") + _region([[140, 120], [160, 130]], "1")
    shapes += _region([[200, 200], [240, 200], [240, 260], [200, 260]], "2")
    row = imported("monuseg", _aperio(tmp_path, shapes), tmp_path / "out")
    ids = np.asarray(Image.open(row.require_label()))
    sizes = np.bincount(ids.ravel())[1:]
    assert sizes[0] == pytest.approx(math.pi * 20 * 15, rel=0.02)
    assert sizes[1] == 200
    assert sizes[2] == pytest.approx(math.pi * 20 * 30, rel=0.02)
    assert ids[20:50, 40:80].any(axis=0).all() and ids[20:50, 40:80].any(axis=1).all()
    assert ids[21, 41] == 0
    assert "left out" not in caplog.text


def test_imagescope_arrows_and_rulers_are_counted(tmp_path: Path, caplog) -> None:
    nuclei = "".join(_region(disc(*center), "0") for center in CENTERS)
    other = _region([[1, 1], [9, 9]], "3") * 2 + _region([[1, 1], [9, 9]], "4")
    other += _region([[5, 5], [6, 6]], "0") + _region(BIG, "7")
    ignored = f'<Annotation Name="Ignore"><Regions>{_region(BIG, "0")}</Regions></Annotation>'
    row = imported("monuseg", _aperio(tmp_path, nuclei + other, ignored), tmp_path / "out")
    assert count(row) == 16
    for what in ("2 arrows", "1 rulers", "1 points or lines", "1 of Type 7", "text Ignore"):
        assert what in caplog.text
    with pytest.raises(ImageError, match=r"a\.xml: holds no nuclei, but 2 arrows, 1 rulers"):
        imported("monuseg", _aperio(tmp_path, other), tmp_path / "none")
    with pytest.raises(ImageError, match=r"a\.xml: holds no nuclei; leave it out"):
        imported("monuseg", _aperio(tmp_path, ""), tmp_path / "empty")


def _characters(counts: list[int]) -> str:
    """COCO's text of run lengths, written by its rule: see `coco._uncompressed`."""
    text = []
    for place, value in enumerate(counts):
        left = value - (counts[place - 2] if place > 2 else 0)
        while True:
            bits, left = left & 31, left >> 5
            more = left != (-1 if bits & 16 else 0)
            text.append(chr(48 + (bits | 32 if more else bits)))
            if not more:
                break
    return "".join(text)


@pytest.mark.parametrize("packed", [True, False], ids=["compressed", "lists"])
def test_run_lengths_cost_the_memory_of_the_nuclei(tmp_path: Path, packed: bool) -> None:
    """500 nuclei of 2,000 px; a mask each would be 2 GB."""
    side, annotations = 2000, []
    Image.fromarray(np.zeros((side, side), np.uint8)).save(tmp_path / "a.png")
    for place in range(500):
        y, x = 20 + 80 * (place // 25), 20 + 78 * (place % 25)
        edges = [0]
        for column in range(x, x + 16):
            edges += [column * side + y, column * side + y + 18]
        counts = np.diff([*edges, side * side]).tolist()
        runs = {"size": [side, side], "counts": _characters(counts) if packed else counts}
        annotations.append({"image_id": 1, "segmentation": runs})
    content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": annotations}
    (tmp_path / "a.json").write_text(json.dumps(content))
    list(coco.read_coco(_coco(tmp_path, []), ImportOptions()))  # compiled
    Image.fromarray(np.zeros((side, side), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps(content))
    tracemalloc.start()
    (source,) = coco.read_coco(tmp_path / "a.json", ImportOptions())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(source.nuclei, Drawn)
    assert (np.bincount(source.nuclei.instance_map.ravel())[1:] == 16 * 18).all()
    assert source.nuclei.count == 500
    assert peak < 50e6, peak
