"""Importers: conventions by hand, and round trips from files written in each format."""

import gzip
import json
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tifffile
from click.testing import CliRunner
from PIL import Image
from support.command_line import bounded, refusal

from nucleipel.cli import cli
from nucleipel.config import ImportConfig
from nucleipel.core.atomic import read_sealed_json, write_sealed_json
from nucleipel.core.measured_nuclei import Ring
from nucleipel.errors import ImageError
from nucleipel.io.annotations import FORMATS, geojson
from nucleipel.io.annotations.coco import _uncompressed
from nucleipel.io.annotations.objects import Mask, draw, number
from nucleipel.io.annotations.polygons import Polygons
from nucleipel.io.annotations.rasterize import covered
from nucleipel.io.manifest import read_manifest
from nucleipel.io.slides.slide import read_annotation
from nucleipel.stages.files.import_annotations import import_annotations

SHAPE = (40, 60)
Write = Callable[[Path], Path]


def _square(y0: float, x0: float, y1: float, x1: float) -> np.ndarray:
    return np.array([(y0, x0), (y0, x1), (y1, x1), (y1, x0), (y0, x0)])


def _full(mask: Mask, shape: tuple[int, int]) -> np.ndarray:
    whole = np.zeros(shape, int)
    height, width = mask.pixels.shape
    whole[mask.y0 : mask.y0 + height, mask.x0 : mask.x0 + width] = mask.pixels
    return whole


def rasterize(rings: Sequence[Ring], shape: tuple[int, int]) -> Mask:
    """The pixels of one polygon of rings (n, 2), (y, x), on an image of shape (height, width)."""
    polygon = Polygons.of_outlines([[list(rings)]])
    y0, x0, y1, x1 = np.clip(polygon.boxes[0], 0, [*shape, *shape]).tolist()
    if y0 >= y1 or x0 >= x1:
        return Mask(0, 0, np.zeros((0, 0), bool))
    return Mask(y0, x0, covered(polygon, np.arange(y0, y1), np.arange(x0, x1)))


# --- conventions -------------------------------------------------------------------------------


def test_a_pixel_belongs_from_half_of_it_on() -> None:
    assert _full(rasterize([_square(1, 1, 3, 4)], (4, 5)), (4, 5)).tolist() == [
        [0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 0, 0, 0],
    ]
    half = rasterize([_square(0, 0.5, 1, 2.4)], (1, 4))
    assert _full(half, (1, 4)).tolist() == [[1, 1, 0, 0]]


def test_a_ring_inside_is_a_hole_and_what_overhangs_is_cut() -> None:
    ring = rasterize([_square(-3, -3, 4, 4), _square(1, 1, 3, 3)], (5, 5))
    assert _full(ring, (5, 5)).tolist() == [
        [1, 1, 1, 1, 0],
        [1, 0, 0, 1, 0],
        [1, 0, 0, 1, 0],
        [1, 1, 1, 1, 0],
        [0, 0, 0, 0, 0],
    ]
    assert rasterize([_square(9, 9, 12, 12)], (5, 5)).area_px == 0


def test_a_disc_has_its_area() -> None:
    turn = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([20.3 + 9 * np.sin(turn), 30.7 + 9 * np.cos(turn)], axis=1)
    mask = _full(rasterize([circle], SHAPE), SHAPE)
    assert mask.sum() == pytest.approx(math.pi * 81, rel=0.01)
    y, x = np.nonzero(mask)
    assert (y.mean() + 0.5, x.mean() + 0.5) == pytest.approx((20.3, 30.7), abs=0.1)


def test_the_smaller_wins_then_the_later_and_ids_are_in_raster_order() -> None:
    large = Mask(0, 0, np.ones((4, 4), bool))
    small = Mask(1, 1, np.ones((2, 2), bool))
    twin = Mask(1, 2, np.ones((2, 2), bool))
    drawn = draw([small, twin, large], (4, 6))
    assert drawn.instance_map.tolist() == [
        [1, 1, 1, 1, 0, 0],
        [1, 2, 3, 3, 0, 0],
        [1, 2, 3, 3, 0, 0],
        [1, 1, 1, 1, 0, 0],
    ]
    assert (drawn.count, drawn.covered, drawn.small) == (3, 0, 0)
    hidden = draw([large, Mask(0, 0, np.ones((4, 4), bool)), Mask(0, 0, np.zeros((1, 1), bool))],
                  (4, 4))  # fmt: skip
    assert (hidden.count, hidden.covered, hidden.small) == (1, 1, 1)


def test_numbering_takes_any_ids() -> None:
    ids = np.array([[0, 2**40, 2**40], [7, 0, 2**32 - 1]])
    assert number(ids).tolist() == [[0, 1, 1], [2, 0, 3]]


# --- round trips -------------------------------------------------------------------------------


def _truth() -> np.ndarray:
    """Three nuclei in pixels: a rectangle, one with a hole, one of two parts."""
    ids = np.zeros(SHAPE, np.uint32)
    ids[3:10, 5:20] = 1
    ids[5:25, 30:50] = 2
    ids[10:15, 36:42] = 0
    ids[30:38, 2:9] = 3
    ids[30:38, 12:15] = 3
    return ids


RINGS = [
    [[_square(3, 5, 10, 20)]],
    [[_square(5, 30, 25, 50), _square(10, 36, 15, 42)]],
    [[_square(30, 2, 38, 9)], [_square(30, 12, 38, 15)]],
]
"""`_truth` as polygons: one list a nucleus, of parts, of rings (y, x)."""


def _save_image(path: Path, value: int = 200) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SHAPE, 3), value, np.uint8)).save(path)


def _dsb2018(folder: Path) -> Path:
    _save_image(folder / "abc" / "images" / "abc.png")
    (folder / "abc" / "masks").mkdir()
    for index in (3, 1, 2):
        mask = (_truth() == index).astype(np.uint8) * 255
        Image.fromarray(mask).save(folder / "abc" / "masks" / f"{index}.png")
    return folder


def _xml(rings: list[np.ndarray], *, mpp: str = "0.2520", negative: int = -1) -> str:
    regions = "".join(
        f'<Region Id="{i + 1}" NegativeROA="{int(i == negative)}"><Vertices>'
        + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for y, x in ring)
        + "</Vertices></Region>"
        for i, ring in enumerate(rings)
    )
    return (
        f'<Annotations MicronsPerPixel="{mpp}"><Annotation Id="1"><Regions>'
        f"<RegionAttributeHeaders/>{regions}</Regions></Annotation></Annotations>"
    )


def _monuseg(folder: Path) -> Path:
    _save_image(folder / "Tissue Images" / "TCGA-A7-A13E-01Z-00-DX1.png")
    (folder / "Annotations").mkdir()
    rings = [RINGS[0][0][0], RINGS[1][0][0], RINGS[1][0][1], _square(0, 0, 3, 3)]
    text = _xml(rings, negative=2)  # the last is under 10 px
    (folder / "Annotations" / "TCGA-A7-A13E-01Z-00-DX1.xml").write_text(text)
    return folder


def _geometry(parts: list[list[np.ndarray]]) -> dict[str, object]:
    polygons = [[ring[:, ::-1].tolist() for ring in rings] for rings in parts]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _feature(kind: str, geometry: dict[str, object], **more: object) -> dict[str, object]:
    return {
        "type": "Feature", "geometry": geometry, "properties": {"objectType": kind}, **more
    }  # fmt: skip


def _qupath(folder: Path) -> Path:
    _save_image(folder / "slide.tif.png")
    region = _geometry([[_square(0, 0, 40, 60)]])
    features = [_feature("annotation", region), _feature("detection", _geometry(RINGS[2]))]
    features += [_feature("cell", region, nucleusGeometry=_geometry(parts)) for parts in RINGS[:2]]
    features.append(_feature("detection", {"type": "Point", "coordinates": [3, 4]}))
    text = json.dumps({"type": "FeatureCollection", "features": features})
    (folder / "slide.tif.geojson.gz").write_bytes(gzip.compress(text.encode()))
    return folder / "slide.tif.geojson.gz"


def _coco(folder: Path) -> Path:
    _save_image(folder / "img" / "a.png")
    ids = _truth()
    column = (ids == 2).T.reshape(-1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], column, [False]]).astype(int)))
    counts = np.diff(np.concatenate([[0], edges, [column.size]])).tolist()
    polygons = [part[0][:, ::-1].reshape(-1).tolist() for part in RINGS[2]]
    content = {
        "images": [{"id": 7, "file_name": "img/a.png", "height": 40, "width": 60}],
        "annotations": [
            {"image_id": 7, "segmentation": polygons},
            {"image_id": 7, "segmentation": {"counts": counts, "size": list(SHAPE)}},
            {"image_id": 7, "segmentation": [RINGS[0][0][0][:, ::-1].reshape(-1).tolist()]},
        ],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    return folder / "coco.json"


def _pannuke(folder: Path) -> Path:
    masks = np.zeros((1, *SHAPE, 6))
    masks[0, ..., 1] = np.where(_truth() == 2, 5, 0)
    masks[0, ..., 4] = np.where(_truth() == 1, 9, 0) + np.where(_truth() == 3, 5, 0)
    masks[0, ..., 5] = _truth() == 0
    for name, values in (("images", np.full((1, *SHAPE, 3), 200.0)), ("masks", masks)):
        (folder / name / "fold1").mkdir(parents=True)
        np.save(folder / name / "fold1" / f"{name}.npy", values)
    return folder


def _hovernet(folder: Path) -> Path:
    _save_image(folder / "Images" / "train_1.png")
    (folder / "Labels").mkdir()
    gaps = np.array([0, 12, 4, 99])[_truth()].astype(float)
    scipy.io.savemat(folder / "Labels" / "train_1.mat", {"inst_map": gaps, "type_map": gaps})
    return folder


def _labels(folder: Path) -> Path:
    for name in "abc":
        _save_image(folder / "images" / f"{name}.png")
    (folder / "masks").mkdir()
    Image.fromarray(_truth().astype(np.uint8)).save(folder / "masks" / "a.png")
    tifffile.imwrite(folder / "masks" / "b.tif", np.array([0, 70000, 2**32 - 1, 5])[_truth()])
    np.save(folder / "masks" / "c.npy", _truth().astype(np.float32))
    return folder


def _suffixed(folder: Path) -> Path:
    _save_image(folder / "a.png")
    Image.fromarray(_truth().astype(np.uint8)).save(folder / "a_masks.png")
    return folder


def _stardist(folder: Path) -> Path:
    for split, value in (("train", 200), ("test", 199)):
        _save_image(folder / split / "images" / f"{split}_1.tif", value)
        (folder / split / "masks").mkdir()
        tifffile.imwrite(folder / split / "masks" / f"{split}_1.tif", _truth().astype(np.uint16))
    return folder


@pytest.mark.parametrize(
    ("kind", "write", "ids"),
    [
        ("dsb2018", _dsb2018, ["abc"]),
        ("monuseg", _monuseg, ["TCGA-A7-A13E-01Z-00-DX1"]),
        ("qupath", _qupath, ["slide.tif"]),
        ("coco", _coco, ["a"]),
        ("pannuke", _pannuke, ["fold1-00000"]),
        ("hovernet", _hovernet, ["train_1"]),
        ("labels", _labels, ["a", "b", "c"]),
        ("labels", _suffixed, ["a"]),
        ("stardist", _stardist, ["train_1", "test_1"]),
    ],
)
def test_round_trip(tmp_path: Path, kind: str, write: Write, ids: list[str]) -> None:
    source = tmp_path / "made by others"
    source.mkdir()
    manifest = import_annotations(kind, write(source), tmp_path / "out", ImportConfig())
    rows = read_manifest(manifest).rows  # every path, shape and id is checked on the way
    assert [row.id for row in rows] == ids
    truth = _truth()
    if kind == "monuseg":
        truth[truth == 3] = 0
        assert (rows[0].mpp, rows[0].source_id) == (0.252, "TCGA-A7-A13E")
    for row in rows:
        found = read_annotation(row.require_label())
        assert np.array_equal(found, truth), row.id
        assert found.dtype == np.uint16
    if kind == "stardist":
        assert [row.split for row in rows] == ["train", "test"]


def test_the_command_names_every_format() -> None:
    runner = CliRunner()
    shown = " ".join(runner.invoke(cli, ["import", "--help"]).output.split())
    described = shown[shown.index("FORMAT is ") : shown.index("SOURCE its folder")]
    assert all(name in described for name in FORMATS)
    refused = runner.invoke(cli, ["import", "cococo", "source", "--out", "out"])
    assert refused.exit_code == 2
    assert all(f"'{name}'" in refused.output for name in FORMATS)


def test_a_killed_import_goes_on_and_a_finished_one_stays(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    source, out = _labels(tmp_path / "source"), tmp_path / "out"
    manifest = import_annotations("labels", source, out, ImportConfig(split="train", mpp=0.5))
    before = {path: path.read_bytes() for path in out.rglob("*.tif")}
    record = read_sealed_json(out / "nucleipel.json")
    write_sealed_json(out / "nucleipel.json", record | {"complete": False})
    (out / "labels" / "b.tif").unlink()
    manifest.unlink()
    import_annotations("labels", source, out, ImportConfig(split="train", mpp=0.5))
    assert {path: path.read_bytes() for path in out.rglob("*.tif")} == before
    rows = read_manifest(manifest).rows
    assert {(row.split, row.mpp) for row in rows} == {("train", 0.5)}
    assert rows[0].image.samefile(source / "images" / "a.png")


def test_compressed_run_lengths() -> None:
    """Written by COCO's own rule: small values of one character, larger ones of several."""
    assert _uncompressed("5") == [5]
    # 6 = "6", 1 = "1", 40 = 8 + 32 -> "X1", then -3 more than the run two before it
    assert _uncompressed("61X1M") == [6, 1, 40, 1 - 3]


def test_a_mask_is_split_only_with_its_setting(tmp_path: Path) -> None:
    _save_image(tmp_path / "images" / "a.png")
    (tmp_path / "labels").mkdir()
    mask = (_truth() > 0).astype(np.uint8) * 255
    Image.fromarray(mask).save(tmp_path / "labels" / "a.png")
    with pytest.raises(ImageError, match=r"a\.png: one id, 255, in 4 pieces: a mask"):
        import_annotations("labels", tmp_path, tmp_path / "out", ImportConfig())
    assert not (tmp_path / "out").exists()
    config = ImportConfig(split_pieces=True)
    manifest = import_annotations("labels", tmp_path, tmp_path / "out", config)
    assert read_annotation(read_manifest(manifest).rows[0].require_label()).max() == 4


def test_small_nuclei_are_left_out_with_their_setting(tmp_path: Path) -> None:
    for kind, write in (("labels", _suffixed), ("dsb2018", _dsb2018)):
        (tmp_path / kind).mkdir()
        config = ImportConfig(min_area_px=100)
        manifest = import_annotations(
            kind, write(tmp_path / kind), tmp_path / f"{kind}-out", config
        )
        found = read_annotation(read_manifest(manifest).rows[0].require_label())
        assert np.array_equal(found, np.where(_truth() == 3, 0, _truth()))


# --- what is refused ---------------------------------------------------------------------------

BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Annotations>&b;</Annotations>'
XXE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><Annotations>&a;</Annotations>'
POINT = [[float("nan"), 1], [2, 3], [4, 5], [6, 7]]
OUTSIDE = [[100, 100], [120, 100], [120, 120], [100, 100]]
FAR = [[1e300, 1], [5, 1], [5, 5], [1e300, 1]]
OPEN = [[1, 1], [5, 1], [5, 5], [1, 4]]


def _geojson(coordinates: object, kind: str = "Polygon") -> str:
    good = _feature("detection", _geometry(RINGS[0]))
    bad = _feature("detection", {"type": kind, "coordinates": coordinates})
    only = coordinates == [OUTSIDE]
    return json.dumps({"type": "FeatureCollection", "features": [bad] if only else [good, bad]})


def _text(name: str, text: str) -> Write:
    def write(folder: Path) -> Path:
        _save_image(folder / "a.png")
        (folder / name).write_text(text)
        return folder

    return write


def _pipe(name: str) -> Write:
    def write(folder: Path) -> Path:
        (folder / name).parent.mkdir(exist_ok=True)
        _save_image(folder / "images" / "a.png")
        os.mkfifo(folder / name)
        return folder / name if name.endswith(".json") else folder

    return write


def _jpeg_label(folder: Path) -> Path:
    _save_image(folder / "images" / "a.png")
    (folder / "labels").mkdir()
    Image.fromarray(_truth().astype(np.uint8)).save(folder / "labels" / "a.jpg")
    return folder


def _label(ids: np.ndarray) -> Write:
    def write(folder: Path) -> Path:
        _save_image(folder / "images" / "a.png")
        (folder / "labels").mkdir()
        if ids.dtype.kind in "ui" and ids.ndim == 2:
            tifffile.imwrite(folder / "labels" / "a.tif", ids)
        else:
            np.save(folder / "labels" / "a.npy", ids)
        return folder

    return write


def _coco_with(annotation: dict[str, object]) -> str:
    image = {"id": 1, "file_name": "a.png", "height": 40, "width": 60}
    return json.dumps({"images": [image], "annotations": [{"image_id": 1, **annotation}]})


@pytest.mark.parametrize(
    ("kind", "write", "message"),
    [
        ("labels", lambda folder: folder / "gone", "gone: no such folder"),
        ("labels", _text("x.txt", ""), "holds no labels"),
        ("labels", _label(np.zeros((60, 40), np.uint8)), r"label is 60 x 40 px, its image 40 x 60"),
        ("labels", _label(np.full(SHAPE, -1, np.int16)), r"a\.tif: holds the negative id -1"),
        ("labels", _label(np.full(SHAPE, 0.5)), "ids with fractions or NaN"),
        ("labels", _label(np.full(SHAPE, np.nan)), "ids with fractions or NaN"),
        ("labels", _label(np.array([{}])), "is a pickle, which can run code"),
        ("labels", _label(np.zeros((*SHAPE, 3))), "has 3 axes"),
        ("labels", _jpeg_label, r"a\.jpg: is a JPEG, which changes ids"),
        ("labels", _pipe("labels/a.npy"), r"a\.npy: is no regular file"),
        ("labels", _pipe("labels/a.tif"), r"a\.tif: is no regular file"),
        ("coco", _pipe("a.json"), r"a\.json: is no regular file"),
        ("monuseg", _pipe("a.xml"), "holds no XML"),
        ("qupath", _pipe("a.geojson"), "no GeoJSON there"),
        ("hovernet", _pipe("a.mat"), r"holds no \.mat"),
        ("pannuke", _pipe("masks.npy"), r"holds no masks\.npy"),
        ("monuseg", _text("a.xml", BOMB), r"a\.xml: defines entities or a DTD"),
        ("monuseg", _text("a.xml", XXE), r"a\.xml: defines entities or a DTD"),
        ("monuseg", _text("a.xml", "<Annotations>"), r"a\.xml: no valid XML"),
        ("monuseg", _text("a.xml", "<html/>"), r"root is <html>"),
        ("monuseg", _text("a.xml", _xml([_square(0, 0, math.nan, 9)])), "Region 1: .* not finite"),
        ("monuseg", _text("other.xml", _xml([])), r"other\.xml: no image is named 'other'"),
        ("qupath", _text("a.geojson", "[" * 100000), "no valid GeoJSON: nested too deep"),
        ("qupath", _text("a.geojson", "{}"), "holds no features"),
        ("qupath", _text("a.geojson", _geojson([POINT])), "feature 1: a coordinate is not finite"),
        ("qupath", _text("a.geojson", _geojson([OPEN])), "feature 1: a ring is not closed"),
        ("qupath", _text("a.geojson", _geojson([], "Blob")), "feature 1: no Polygon"),
        ("qupath", _text("a.geojson", _geojson([OUTSIDE])), "all 1 nuclei lie outside the image"),
        ("qupath", _text("a.geojson", _geojson([FAR])), r"feature 1: a coordinate of 1e\+300"),
        ("monuseg", _text("a.xml", _xml([_square(0, 0, 9, 1e300)])), "Region 1: a coordinate of 1"),
        ("coco", lambda folder: _text("a.json", _coco_with(
            {"segmentation": [[1, math.nan, 9, 1, 9, 9]]}))(folder) / "a.json",
         "annotation 0: a coordinate is not finite"),
        ("coco", lambda folder: _text("a.json", _coco_with(
            {"image_id": 2, "segmentation": [[1, 1, 9, 1, 9, 9]]}))(folder) / "a.json",
         "annotation 0: no image has the id 2; list it"),
        ("labels", _label(np.kron(np.arange(60).reshape(6, 10) % 3, np.ones((6, 6), int))
                          .astype(np.uint8)[:, :60].repeat(2, 0)[:40]), "classes, not instances"),
        ("coco", lambda folder: _text("a.json", "[]")(folder) / "a.json", "no COCO instances"),
        ("coco", lambda folder: _text("a.json", _coco_with({"segmentation": 5}))(folder) / "a.json",
         "annotation 0: no polygons"),
        ("coco", lambda folder: _text("a.json", _coco_with(
            {"segmentation": {"counts": [3], "size": [40, 60]}}))(folder) / "a.json",
         "annotation 0: no polygons and no run lengths of its image's size"),
        ("hovernet", _text("a.mat", "MATLAB no"), r"a\.mat: cannot be read as \.mat"),
        ("pannuke", _text("masks.npy", "no"), r"no images\.npy"),
        ("dsb2018", _text("x.txt", ""), "expected folders <id>/images and <id>/masks"),
        ("stardist", _text("x.txt", ""), "holds neither train nor test"),
    ],
)  # fmt: skip
def test_refused_in_one_line(tmp_path: Path, kind: str, write: Write, message: str) -> None:
    (tmp_path / "source").mkdir()
    out = tmp_path / "out"
    output = refusal("import", kind, write(tmp_path / "source"), "--out", out, untouched=out)
    assert re.search(message, output), output
    assert str(tmp_path) in output
    assert Path("/etc/hostname").read_text().strip() not in output.replace(str(tmp_path), "")


def test_what_unpacks_to_gigabytes_is_refused(tmp_path: Path, monkeypatch) -> None:
    _save_image(tmp_path / "a.png")
    (tmp_path / "a.geojson.gz").write_bytes(gzip.compress(bytes(2**27), 1))
    monkeypatch.setattr(geojson, "LARGEST_BYTES", 2**20)
    with bounded(2**26):
        message = refusal("import", "qupath", tmp_path, "--out", tmp_path / "out")
    assert re.search(r"a\.geojson\.gz: over .* GiB; export it in parts", message), message


def test_classes_are_split_where_they_touch(tmp_path: Path) -> None:
    _save_image(tmp_path / "images" / "a.png")
    (tmp_path / "labels").mkdir()
    classes = np.zeros(SHAPE, np.uint8)
    for left in (0, 20, 40):
        classes[5:15, left : left + 5], classes[5:15, left + 5 : left + 10] = 1, 2
    Image.fromarray(classes).save(tmp_path / "labels" / "a.png")
    config = ImportConfig(split_pieces=True)
    manifest = import_annotations("labels", tmp_path, tmp_path / "out", config)
    found = read_annotation(read_manifest(manifest).rows[0].require_label())
    assert found[7, ::5].tolist() == [1, 2, 0, 0, 3, 4, 0, 0, 5, 6, 0, 0]
