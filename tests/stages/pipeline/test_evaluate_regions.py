"""Slides that were annotated in regions: scored there alone, as if each region were cut out."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from support.whole_outputs import write_label_pyramid

from nucleipel.config import EvaluateConfig
from nucleipel.core.geometry import Box
from nucleipel.data.synthetic import build_scene
from nucleipel.errors import ImageError
from nucleipel.io.slides.resolution import WorldFrame
from nucleipel.io.slides.write_slide import write_annotation, write_slide
from nucleipel.stages.pipeline import evaluate as stage
from nucleipel.stages.pipeline.evaluate import evaluate

SHAPE = (500, 640)
REGIONS = [Box(30, 40, 230, 300), Box(260, 380, 480, 620), Box(300, 20, 420, 200)]


def _rectangle(box: Box) -> dict[str, object]:
    y0, x0, y1, x1 = box.y0, box.x0, box.y1, box.x1
    ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}


def _without_borders(ids: np.ndarray) -> np.ndarray:
    """Those nuclei that no region's border cuts."""
    inside = np.zeros(ids.shape, bool)
    for box in REGIONS:
        inside[box.slices] = True
    cut = np.intersect1d(ids[inside], ids[~inside])
    return np.where(np.isin(ids, cut), 0, ids)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A slide with regions, the regions cut out, and what some network found in either."""
    folder = tmp_path_factory.mktemp("evaluate")
    scene = build_scene(SHAPE, seed=1, glass=False)
    truth = _without_borders(scene.instance_map)
    found = _without_borders(np.roll(scene.instance_map, (2, -3), axis=(0, 1)))
    assert truth.any() and found.any()
    (folder / "region.geojson").write_text(json.dumps([_rectangle(box) for box in REGIONS]))
    write_slide(folder / "slide.ome.tif", scene.image, mpp=0.5)
    write_annotation(folder / "slide_label.tif", truth)
    _write_found(folder / "slide" / "slide", found)
    lines = ["image,label,split,source_id"]
    for number, box in enumerate(REGIONS):
        write_slide(folder / f"{number}.ome.tif", scene.image[box.slices], mpp=0.5)
        write_annotation(folder / f"{number}_label.tif", truth[box.slices])
        _write_found(folder / "cut" / str(number), found[box.slices])
        lines.append(f"{number}.ome.tif,{number}_label.tif,,")
    (folder / "cut.csv").write_text("\n".join(lines))
    (folder / "slide.csv").write_text(
        "image,label,split,source_id,region\nslide.ome.tif,slide_label.tif,,,region.geojson\n"
    )
    return folder


def _write_found(folder: Path, ids: np.ndarray) -> None:
    folder.mkdir(parents=True)
    write_annotation(folder / "instances.ome.tif", ids.astype(np.uint32))


def _evaluate(folder: Path, name: str, out: Path) -> dict:
    return evaluate(folder / f"{name}.csv", folder / name, out, EvaluateConfig(), overwrite=True)


def test_regions_score_as_their_cut_outs(folder: Path, tmp_path: Path) -> None:
    whole = _evaluate(folder, "slide", tmp_path / "slide.json")
    cut = _evaluate(folder, "cut", tmp_path / "cut.json")
    assert whole["pooled_over_nuclei"] == pytest.approx(cut["pooled_over_nuclei"])
    assert 0.1 < whole["pooled_over_nuclei"]["pq"] < 0.9
    for count in ("annotated_nuclei", "predicted_nuclei"):
        assert whole[count] == cut[count] > 10
    area = sum(box.shape[0] * box.shape[1] for box in REGIONS)
    share = 100 * area / (SHAPE[0] * SHAPE[1])
    assert whole["scored_percent"] == pytest.approx(share, abs=1e-3)
    assert cut["scored_percent"] == 100
    assert "scored_percent" in (tmp_path / "slide.csv").read_text()


@pytest.mark.parametrize("side", [64, 97])
def test_windows_change_nothing(folder: Path, tmp_path: Path, monkeypatch, side: int) -> None:
    before = _evaluate(folder, "slide", tmp_path / "a.json")
    monkeypatch.setattr(stage, "WINDOW_PX", side)
    assert _evaluate(folder, "slide", tmp_path / "b.json") == before


def test_the_zarr_of_a_result_is_read_where_its_tiff_was_taken_away(
    folder: Path, tmp_path: Path
) -> None:
    before = _evaluate(folder, "slide", tmp_path / "a.json")
    for name in ("slide.csv", "slide.ome.tif", "slide_label.tif", "region.geojson"):
        shutil.copy(folder / name, tmp_path / name)
    ids = tifffile.imread(folder / "slide" / "slide" / "instances.ome.tif")
    labels = tmp_path / "slide" / "slide" / "instances.zarr"
    labels.parent.mkdir(parents=True)
    write_label_pyramid(labels, zarr.array(ids), name="slide", world=WorldFrame())
    after = _evaluate(tmp_path, "slide", tmp_path / "b.json")
    assert after["pooled_over_nuclei"] == before["pooled_over_nuclei"]


def test_only_what_lies_in_regions_is_read(folder: Path, tmp_path: Path, monkeypatch) -> None:
    read = []
    monkeypatch.setattr(stage, "WINDOW_PX", 32)
    monkeypatch.setattr(stage, "AROUND_PX", 16)
    add = stage.OverlapCounter.add

    def noted(self, annotation, prediction, counted) -> None:
        read.append(annotation.size)
        add(self, annotation, prediction, counted)

    monkeypatch.setattr(stage.OverlapCounter, "add", noted)
    _evaluate(folder, "slide", tmp_path / "a.json")
    near = np.zeros(SHAPE, bool)
    for box in REGIONS:
        near[box.grow(48).clip(SHAPE).slices] = True
    assert sum(read) <= near.sum() < 0.8 * near.size


def test_a_map_of_another_frame_is_refused(folder: Path, tmp_path: Path) -> None:
    _write_found(tmp_path / "slide", np.zeros((250, 320), np.uint32))
    with pytest.raises(ImageError, match=r"map is 250 x 320 px, the image 500 x 640 px.*level0"):
        evaluate(folder / "slide.csv", tmp_path, tmp_path / "a.json", EvaluateConfig())
