"""What is chosen of fine-tuned networks, and on which images it is scored."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import nucleipel.stages.pipeline.cross_scores as cross_scores
from nucleipel.config import FinetuneConfig
from nucleipel.io.manifest import Manifest, Row
from nucleipel.metrics.scores import ImageScore
from nucleipel.stages.pipeline.cross_scores import Comparison, CrossScores
from nucleipel.stages.pipeline.halves import SOURCES, Halves
from nucleipel.stages.pipeline.rule_scores import RuleScores

ANNOTATED = np.kron(np.arange(1, 17).reshape(4, 4), np.pad(np.ones((3, 3), np.int32), 1))
OWN = {"a": 5, "b": 7, "c": 5, "d": 5}
"""A number of the instance rule that the start has for each image."""
HALF_OF = (0, 1, 0, 1)


class _KnownScores(RuleScores):
    """Of 16 nuclei the start finds 6, with half of the fine-tuned weights 9.

    With all of the weights 16 are found of half 1, and none of half 0. Other numbers of the rule
    than those of the start find nothing.
    """

    def __init__(self, predictions: Sequence[Any], rows: Sequence[Row]) -> None:
        (self._image,) = predictions

    def scores(self, numbers: dict[str, Any]) -> list[ImageScore]:
        image = self._image
        found = {0.0: 6, 0.5: 9, 1.0: 16 * image.half}[image.share]
        return [_found(found if numbers["min_area_px"] == OWN[image.id] else 0)]


def _found(count: int) -> ImageScore:
    return ImageScore.of(ANNOTATED, np.where(count >= ANNOTATED, ANNOTATED, 0))


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Compare some shares on four images, of which each half has two."""
    rows = tuple(
        Row(name, tmp_path / name, label=None, split="", source_id=name, mpp=None, columns={})
        for name in OWN
    )

    def opened(store: Path) -> Any:
        share, half = store.stem.split("-")[1:]
        images = [
            SimpleNamespace(id=row.id, share=float(share), half=int(half))
            for row, own in zip(rows, HALF_OF, strict=True)
            if own == int(half)
        ]
        of_other_runs = {"instances_of": lambda _: {"min_area_px": 30}}
        of_start = {"instances_of": lambda image: {"min_area_px": OWN[image.id]}}
        return SimpleNamespace(images=images, **(of_other_runs if float(share) else of_start))

    monkeypatch.setattr(cross_scores, "predict", lambda *_, **__: None)
    monkeypatch.setattr(cross_scores, "open_predictions", opened)
    monkeypatch.setattr(cross_scores, "RuleScores", _KnownScores)
    halves = Halves(Manifest(tmp_path, rows), HALF_OF, tuple(OWN), SOURCES, 64)

    def compare(*shares: float) -> Comparison:
        means = {share: [tmp_path, tmp_path] for share in (*shares, 0.0)}
        return CrossScores(halves, means, FinetuneConfig(), tmp_path).compare()

    return compare


def test_the_best_share_is_taken_with_the_numbers_of_the_start(compare: Any) -> None:
    comparison = compare(0.5)
    assert comparison.start == [_found(6)] * 4
    assert comparison.tuned == [_found(9)] * 4
    assert comparison.share == 0.5
    assert comparison.is_better
    assert comparison.to_json()["share_of_fine_tuned"] == 0.5


def test_without_a_gain_it_is_the_start(compare: Any) -> None:
    comparison = compare()
    assert comparison.tuned == comparison.start
    assert not comparison.is_better
    assert comparison.to_json()["share_of_fine_tuned"] == 0


def test_a_half_is_scored_by_the_choice_of_the_other(compare: Any) -> None:
    """All weights are best on half 1 and worst on half 0, which half 1 must not know."""
    comparison = compare(0.5, 1.0)
    assert comparison.tuned[1] == comparison.tuned[3] == _found(9), "half 0 chose half of them"
    assert comparison.tuned[0] == comparison.tuned[2] == _found(0), "half 1 chose all of them"
    assert not comparison.is_better
