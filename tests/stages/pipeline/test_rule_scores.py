"""With a rule of its own, a network with all probabilities raised or lowered scores the same."""

from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import distance_transform_edt

from nucleipel.config import AblateConfig, CalibrateConfig
from nucleipel.instances.instance_rule import InstanceRule
from nucleipel.instances.segment_map import segment_instances
from nucleipel.io.manifest import read_manifest
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import read_annotation
from nucleipel.metrics.scores import ImageScore, pool
from nucleipel.stages.pipeline.rule_scores import RuleScores
from nucleipel.training.coordinate_ascent import coordinate_ascent

START = {"foreground_percent": 50, "min_probability_percent": 0, "min_area_px": 5}


def _map(annotation: npt.NDArray[np.integer], *, boldness: float) -> npt.NDArray[np.uint8]:
    """A network's map that knows the nuclei; log odds of foreground are off by `boldness`."""
    inside, outside = (distance_transform_edt(side) for side in (annotation > 0, annotation == 0))
    log_odds = (inside - outside) / 2 + np.where(annotation > 0, 0.25, -0.25) + boldness
    foreground = 1 / (1 + np.exp(-log_odds))
    central = np.clip(inside / 6, 0, 1)
    classes = (1 - foreground, foreground * central, foreground * (1 - central), central)
    return np.rint(255 * np.stack(classes)).astype(np.uint8)


def _prediction(annotation: np.ndarray, boldness: float) -> SimpleNamespace:
    return SimpleNamespace(
        read_map=lambda: _map(annotation, boldness=boldness),
        resolution=Resolution.pixel_for_pixel(annotation.shape, None),
    )


@pytest.fixture(scope="module")
def scores_by_boldness(tiny_set) -> dict[float, RuleScores]:
    rows = read_manifest(tiny_set.manifest).of_split("train").rows
    annotation = read_annotation(rows[0].label)
    return {
        boldness: RuleScores(
            [_prediction(annotation, boldness)],
            rows,
        )
        for boldness in (0.0, 1.8, -0.8)
    }


@pytest.mark.parametrize("measure", ["dice", "pq"])
def test_what_is_only_higher_or_lower_scores_the_same(scores_by_boldness, measure: str) -> None:
    config = AblateConfig()
    candidates = {name: getattr(CalibrateConfig(), name) for name in config.calibrate}
    held, chosen = {}, {}
    for boldness, tried in scores_by_boldness.items():
        held[boldness] = tried.pooled(measure)(START)
        trials = coordinate_ascent(START, candidates, tried.pooled(measure), rounds=4)
        numbers, chosen[boldness] = max(trials, key=lambda trial: trial[1])
        percent = 100 / (1 + np.exp(-boldness))
        assert abs(numbers["foreground_percent"] - percent) < 12, "the threshold moves with it"
    for boldness in (1.8, -0.8):
        gap = abs(held[boldness] - held[0.0])
        assert gap > 0.02, "under one rule for all it looks worse"
        assert abs(chosen[boldness] - chosen[0.0]) < 0.25 * gap


def test_each_rule_is_scored_once_and_as_by_hand(scores_by_boldness, tiny_set, monkeypatch) -> None:
    import nucleipel.stages.pipeline.rule_scores as stage

    tried = scores_by_boldness[0.0]
    rows = read_manifest(tiny_set.manifest).of_split("train").rows
    annotation = read_annotation(rows[0].label)
    numbers = {**START, "foreground_percent": 37}
    found = segment_instances(_map(annotation, boldness=0.0), rule=InstanceRule(**numbers)).map
    assert tried.scores(numbers) == [ImageScore.of(annotation, found)]
    monkeypatch.setattr(stage, "segment_instances", None)
    assert tried.scores(dict(reversed(numbers.items()))) == [ImageScore.of(annotation, found)]


def test_groups_count_alike_however_many_nuclei_they_have(tiny_set) -> None:
    """A bold map of many nuclei and a shy one of few: the middle threshold is for both."""
    rows = read_manifest(tiny_set.manifest).rows
    annotations = [read_annotation(row.label) for row in rows]
    boldness = {0: 1.8, 1: -0.8, 2: -0.8}
    tried = RuleScores(
        [_prediction(annotation, boldness[at]) for at, annotation in enumerate(annotations)],
        rows,
    )
    both = tried.pooled("pq", groups=[[0], [1, 2]])
    numbers = {**START, "foreground_percent": 80}
    alone = [pool([tried.scores(numbers)[at] for at in places])["pq"] for places in ([0], [1, 2])]
    assert both(numbers) == pytest.approx(sum(alone) / 2)
    assert both(numbers) != pytest.approx(tried.pooled("pq")(numbers), abs=1e-3)
    assert tried.pooled("pq", groups=[[0, 1, 2]])(numbers) == tried.pooled("pq")(numbers)
