"""What was annotated completely becomes a region, what lies in it labels; a slide no map."""

import json
import logging
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command_line import refusal

from nucleipel.config import ImportConfig
from nucleipel.core.geometry import Box
from nucleipel.errors import ConfigError, ImageError
from nucleipel.io.annotations import source as reading
from nucleipel.io.manifest import Row, read_manifest
from nucleipel.io.slides.resolution import Resolution
from nucleipel.stages.files.import_annotations import import_annotations

SHAPE = (200, 300)
ROI = (20, 30, 120, 160)
IN_ROI = [(40, 50), (60, 90), (100, 140), (110, 60)]
ON_BORDER = (120, 100)
OUTSIDE = [(160, 40), (170, 220), (50, 200)]


def ring(y0: float, x0: float, y1: float, x1: float) -> list[list[float]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]


def square(center: tuple[int, int], half: int = 6) -> list[list[float]]:
    return ring(center[0] - half, center[1] - half, center[0] + half, center[1] + half)


def feature(corners: list[list[float]], kind: str = "detection", **properties: object) -> dict:
    geometry = {"type": "Polygon", "coordinates": [corners]}
    return {"type": "Feature", "geometry": geometry,
            "properties": {"objectType": kind, **properties}}  # fmt: skip


def _write(folder: Path, features: list[dict]) -> Path:
    folder = folder / "source"
    folder.mkdir()
    Image.fromarray(np.full((*SHAPE, 3), 200, np.uint8)).save(folder / "a.png")
    (folder / "a.geojson").write_text(json.dumps({"features": features}))
    return folder


def _import(folder: Path, **settings: object) -> Row:
    out = tempfile.mkdtemp(dir=folder.parent)
    manifest = import_annotations("qupath", folder, Path(out), ImportConfig(**settings))
    (row,) = read_manifest(manifest).rows
    return row


def _read(row: Row) -> tuple[np.ndarray, np.ndarray | None]:
    known, frame = row.load_annotation(SHAPE), Resolution.pixel_for_pixel(SHAPE, None)
    whole = Box.of_shape(SHAPE)
    with known.open(frame) as read_ids:
        return read_ids(whole), known.counted(whole, frame)


def _nuclei(features_of: list[tuple[int, int]]) -> list[dict]:
    return [feature(square(center)) for center in features_of]


def test_annotations_around_detections_are_regions(tmp_path: Path, caplog) -> None:
    features = [feature(ring(*ROI), "annotation"), *_nuclei([*IN_ROI, ON_BORDER, *OUTSIDE])]
    with caplog.at_level(logging.INFO):
        row = _import(_write(tmp_path, features))
    assert "regions: 1, with 5 nuclei; 3 outside of them are left out" in caplog.text
    assert row.label.parts[-2:] == ("labels", "a.parquet")
    ids, counted = _read(row)
    expected = np.zeros(SHAPE, bool)
    expected[20:120, 30:160] = True
    assert np.array_equal(counted, expected)
    assert len(np.unique(ids)) - 1 == 5
    assert ids[125, 100] > 0, "a nucleus on the border stays whole"
    assert not ids[150:].any()


def test_regions_may_be_chosen_by_class_or_name(tmp_path: Path, caplog) -> None:
    tissue = feature(ring(5, 5, 190, 290), "annotation", classification={"name": "Tissue"})
    features = [tissue, *_nuclei([*IN_ROI, *OUTSIDE])]
    roi = feature(ring(*ROI), "annotation", classification={"names": ["Done", "By me"]})
    empty = feature(ring(130, 250, 180, 295), "annotation", name="nothing here")
    folder = _write(tmp_path, [*features, roi, empty])
    for classes in (["done"], ["Done: By me"], ["By me", "NOTHING HERE"]):
        with caplog.at_level(logging.INFO):
            row = _import(folder, region_class=classes)
        ids, counted = _read(row)
        assert len(np.unique(ids)) - 1 == len(IN_ROI)
        assert counted[150, 270] == (len(classes) > 1), "an empty region is a valid negative"
    told = refusal("import", "qupath", folder, "--out", folder / "out", "--region-class", "Tumor",
                   untouched=folder / "out")  # fmt: skip
    assert "a.geojson: no annotation has the class or name Tumor; it has By me, Done" in told


def test_hand_drawn_nuclei_lie_in_a_region_of_qupaths_class(tmp_path: Path) -> None:
    nuclei = [feature(square(center), "annotation") for center in IN_ROI]
    region = feature(ring(*ROI), "annotation", classification="Region*")
    ids, counted = _read(_import(_write(tmp_path, [*nuclei, region])))
    assert len(np.unique(ids)) - 1 == len(IN_ROI)
    assert counted.sum() == 100 * 130


def test_a_hand_corrected_nucleus_among_detections_is_no_region(tmp_path: Path, caplog) -> None:
    around = feature(square(IN_ROI[0], half=8), "annotation")
    row = _import(_write(tmp_path, [around, *_nuclei(IN_ROI)]))
    assert row.region is None
    assert "left out, as no nuclei: 1 annotations beside detections" in caplog.text


def test_a_region_that_is_all_of_the_image_is_none(tmp_path: Path) -> None:
    row = _import(_write(tmp_path, [feature(ring(0, 0, *SHAPE), "annotation"), *_nuclei(IN_ROI)]))
    assert row.region is None
    assert row.label.suffix == ".tif"
    assert "region" not in row.columns


def test_of_a_large_image_no_map_is_made(tmp_path: Path, monkeypatch) -> None:
    folder = _write(tmp_path, _nuclei([*IN_ROI, *OUTSIDE]))
    whole, _ = _read(_import(folder))
    monkeypatch.setattr(reading, "LARGEST_MAP_PX", 1000)
    monkeypatch.setattr(reading, "draw_polygons", None)
    row = _import(folder)
    assert row.label.suffix == ".parquet"
    ids, counted = _read(row)
    assert counted is None
    assert np.array_equal(ids > 0, whole > 0)


def _coco(folder: Path, categories: list[dict], **image: object) -> Path:
    Image.fromarray(np.full((*SHAPE, 3), 200, np.uint8)).save(folder / "a.png")
    inner = np.zeros(SHAPE, bool)
    inner[100:140, 30:50] = True
    column = np.concatenate([[False], inner.T.reshape(-1), [False]]).astype(int)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(column)), [inner.size]])
    runs = {"counts": np.diff(edges).tolist(), "size": list(SHAPE)}
    flat = [np.ravel(square(center)[:-1]).tolist() for center in (*IN_ROI, *OUTSIDE)]
    annotations = [{"image_id": 1, "category_id": 1, "segmentation": [part]} for part in flat]
    roi = np.ravel(ring(*ROI)[:-1]).tolist()
    annotations += [
        {"image_id": 1, "category_id": 2, "segmentation": [roi]},
        {"image_id": 1, "category_id": 1, "segmentation": runs},
    ]
    content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": annotations,
               "categories": categories}  # fmt: skip
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json"


def test_coco_names_regions_by_category(tmp_path: Path) -> None:
    path = _coco(tmp_path, [{"id": 1, "name": "nucleus"}, {"id": 2, "name": "ROI"}])
    config = ImportConfig(region_class=["roi"])
    (row,) = read_manifest(import_annotations("coco", path, tmp_path / "out", config)).rows
    ids, counted = _read(row)
    assert counted.sum() == 100 * 130
    assert len(np.unique(ids)) - 1 == len(IN_ROI) + 1
    assert len(np.unique(ids[100:140, 30:50])) == 1, "run lengths stay what they were, as polygons"
    with pytest.raises(ImageError, match=r"a\.png has no annotation of the category done"):
        import_annotations("coco", path, tmp_path / "new", ImportConfig(region_class=["done"]))


def _xml(folder: Path) -> Path:
    Image.fromarray(np.full((*SHAPE, 3), 200, np.uint8)).save(folder / "a.png")

    def region(corners: list[list[float]], **more: str) -> str:
        points = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in corners[:-1])
        extra = "".join(f' {key}="{value}"' for key, value in more.items())
        return f"<Region{extra}><Vertices>{points}</Vertices></Region>"

    nuclei = "".join(region(square(center)) for center in (*IN_ROI, *OUTSIDE))
    hole = region(square(IN_ROI[0], half=2), NegativeROA="1")
    (folder / "a.xml").write_text(
        f'<Annotations><Annotation Name="nuclei"><Regions>{nuclei}{hole}</Regions></Annotation>'
        f'<Annotation Name="Done"><Regions>{region(ring(*ROI))}</Regions></Annotation>'
        "</Annotations>"
    )
    return folder


def test_aperio_names_regions_by_layer(tmp_path: Path) -> None:
    config = ImportConfig(region_class=["done"])
    manifest = import_annotations("monuseg", _xml(tmp_path), tmp_path / "out", config)
    (row,) = read_manifest(manifest).rows
    ids, counted = _read(row)
    assert counted.sum() == 100 * 130
    sizes = np.bincount(ids.ravel())[1:]
    assert sorted(sizes) == [144 - 16, 144, 144, 144], "what is negative is cut out"
    with pytest.raises(ImageError, match=r"no layer or region is named roi; name one"):
        import_annotations(
            "monuseg", tmp_path, tmp_path / "new", ImportConfig(region_class=["roi"])
        )


def test_formats_without_regions_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="region_class: labels names no regions; it goes with"):
        import_annotations("labels", tmp_path, tmp_path / "o", ImportConfig(region_class=["roi"]))
    assert not (tmp_path / "o").exists()
