"""Calibration on slides that were annotated in regions: predicted, read and scored there alone."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from support.untrained import small_network, write_untrained

from nucleipel.config import CalibrateConfig, PredictConfig
from nucleipel.core.geometry import Box
from nucleipel.data.synthetic import build_scene
from nucleipel.instances.instance_rule import InstanceRule
from nucleipel.instances.segment_map import segment_instances
from nucleipel.io.manifest import read_manifest
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide_reader import SlideReader
from nucleipel.io.slides.write_slide import write_annotation, write_slide
from nucleipel.io.stores.predictions import open_predictions
from nucleipel.metrics.scores import ImageScore
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.stages.pipeline import rule_scores as stage
from nucleipel.stages.pipeline.calibrate import calibrate
from nucleipel.stages.pipeline.predict import predict
from nucleipel.stages.pipeline.rule_scores import RuleScores

pytestmark = pytest.mark.slow

SHAPE = (560, 700)
REGIONS = [[(30, 40), (230, 60), (210, 300), (90, 280)], [(300, 480), (420, 480), (300, 640)]]
RULES = [{}, {"foreground_percent": 70, "min_area_px": 40}, {"persistence": 0.3}]


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """A slide with a manifest whose region is two polygons, and its annotation."""
    folder = tmp_path_factory.mktemp("calibrate")
    scene = build_scene(SHAPE, seed=2, glass=False)
    write_slide(folder / "slide.ome.tif", scene.image, mpp=0.5)
    write_annotation(folder / "label.tif", scene.instance_map)
    features = [
        {"geometry": {"type": "Polygon", "coordinates": [[(x, y) for y, x in [*ring, ring[0]]]]}}
        for ring in REGIONS
    ]
    (folder / "region.geojson").write_text(json.dumps(features))
    path = folder / "manifest.csv"
    path.write_text(
        "image,label,split,source_id,region\nslide.ome.tif,label.tif,val,s,region.geojson\n"
    )
    return SimpleNamespace(manifest=read_manifest(path), annotation=scene.instance_map)


def _prediction(annotation: np.ndarray, folder: Path, *, moved_px: int = 2) -> SimpleNamespace:
    """What a network might say that finds nuclei a little to the right, and misses some."""
    ids = np.where(annotation % 5 == 0, 0, np.roll(annotation, moved_px, axis=1))
    inside = np.clip(distance_transform_edt(ids > 0) / 6, 0, 1)
    foreground = (ids > 0) * 0.9 + 0.05
    classes = (1 - foreground, foreground * inside, foreground * (1 - inside), inside)
    values = np.rint(255 * np.stack(classes)).astype(np.uint8)
    return SimpleNamespace(
        read_map=lambda: values,
        open_map=lambda: values,
        folder=folder,
        resolution=Resolution.pixel_for_pixel(SHAPE, None),
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was never trained, with cores that are few on this slide."""
    folder = tmp_path_factory.mktemp("checkpoint")
    rule = asdict(InstanceRule(min_area_px=1))
    return write_untrained(folder, small_network(block_px=1), core_px=64, instances=rule)


@pytest.mark.parametrize(
    ("held_px", "largest_px", "block_px"), [(2**26, 4096, 1024), (0, 4096, 1024), (0, 0, 64)]
)
def test_scores_are_those_of_the_whole_slide_inside_its_regions(
    slide, tmp_path: Path, monkeypatch, held_px: int, largest_px: int, block_px: int
) -> None:
    """Held in memory, read for each rule, or cut into blocks."""
    monkeypatch.setattr(stage, "HELD_PX", held_px)
    monkeypatch.setattr(stage, "LARGEST_PX", largest_px)
    monkeypatch.setattr(stage, "BLOCK_PX", block_px)
    prediction, (row,) = _prediction(slide.annotation, tmp_path), slide.manifest.rows
    tried = RuleScores([prediction], [row])
    known = row.load_annotation(SHAPE)
    with row.open(SlideReader(channels=3)) as opened:
        counted = known.counted(Box.of_shape(SHAPE), opened.resolution)
    for numbers in RULES:
        found = segment_instances(prediction.read_map(), rule=InstanceRule(**numbers)).map
        whole = ImageScore.of(slide.annotation, found, counted)
        (score,) = tried.scores(numbers)
        assert score.annotated_px == whole.annotated_px
        assert score.shared_px == whole.shared_px
        assert score.to_scores() == pytest.approx(whole.to_scores())
        assert score.matches == whole.matches
    assert not list(tmp_path.iterdir())


def test_a_nucleus_on_a_cut_counts_once(slide, tmp_path: Path, monkeypatch) -> None:
    """One of 20 x 20 px, found as it is, where four blocks meet."""
    monkeypatch.setattr(stage, "LARGEST_PX", 0)
    monkeypatch.setattr(stage, "BLOCK_PX", 64)
    (row,) = slide.manifest.rows
    window = Box(30, 40, 230, 300).grow(stage.RING_PX).clip(SHAPE)
    y, x = window.y0 + 2 * 64, window.x0 + 3 * 64
    annotation = np.zeros(SHAPE, np.uint16)
    annotation[y - 10 : y + 10, x - 10 : x + 10] = 1
    write_annotation(tmp_path / "label.tif", annotation)
    row = replace(row, label=tmp_path / "label.tif")
    prediction = _prediction(annotation, tmp_path, moved_px=0)
    tried = RuleScores([prediction], [row])
    (score,) = tried.scores({"min_area_px": 5})
    assert (score.annotated_count, score.predicted_count, score.matched_count) == (1, 1, 1)
    assert score.matched_iou == 1


def test_nothing_is_predicted_far_from_regions(slide, checkpoint, tmp_path: Path) -> None:
    config = PredictConfig(device="cpu", tissue="off")
    maps = {}
    for within in (False, True):
        out = predict(
            checkpoint, slide.manifest, tmp_path / str(within), config, within_regions=within
        )
        (maps[within],) = open_predictions(out).images
    assert maps[True].tissue["mask"] == "region"
    assert 20 < maps[True].tissue["skipped_percent"] < 80
    one, other = (maps[within].read_map() for within in (False, True))
    for ring in REGIONS:
        (y0, x0), (y1, x1) = np.min(ring, axis=0), np.max(ring, axis=0)
        near = Box(y0, x0, y1, x1).clip(SHAPE)
        assert np.array_equal(one[(slice(None), *near.slices)], other[(slice(None), *near.slices)])
    assert (other[0, -100:, :100] == 255).all()


def test_calibrate_scores_regions(slide, checkpoint, tmp_path: Path) -> None:
    nothing = dict.fromkeys(CalibrateConfig().candidates(), ())
    config = CalibrateConfig(**nothing | {"foreground_percent": (30, 50)}, device="cpu", rounds=1)
    out = calibrate(checkpoint, slide.manifest, tmp_path / "out", config)
    assert read_checkpoint(out).description.instances["foreground_percent"] in (30, 50)
    assert len((out / "calibration.csv").read_text().splitlines()) >= 2
