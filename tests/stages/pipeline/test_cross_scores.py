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
from nucleipel.stages.pipeline.cross_scores import Choice, Comparison, CrossScores
from nucleipel.stages.pipeline.halves import SOURCES, Halves
from nucleipel.stages.pipeline.rule_scores import RuleScores

ANNOTATED = np.kron(np.arange(1, 17).reshape(4, 4), np.pad(np.ones((3, 3), np.int32), 1))
HALF_OF = {"a": 0, "b": 1, "c": 0, "d": 1}
OWN, OTHER = 80, 60
"""Foreground in percent: that of the start, and the only other one that finds anything."""


class _KnownScores(RuleScores):
    """Scores of known results: so many of 16 nuclei are found, by share of the weights and half.

    The start finds 6, and half of the fine-tuned weights 9. All of the weights find 16 in
    the images of half 1, and none in those of half 0.
    """

    more_of_half = (3, 3)
    """Nuclei that the number `OTHER` finds besides, in the images of either half."""

    def __init__(self, predictions: Sequence[Any], rows: Sequence[Row]) -> None:
        self._images: list[Any] = list(predictions)

    def scores(self, numbers: dict[str, Any]) -> list[ImageScore]:
        foreground = numbers["foreground_percent"]
        if foreground not in (OWN, OTHER):
            return [_found(0)] * len(self._images)
        scores = []
        for image in self._images:
            found = {0.0: 6, 0.5: 9, 1.0: 16 * image.half}[image.share]
            more = self.more_of_half[image.half] if foreground == OTHER else 0
            scores.append(_found(found + more))
        return scores


def _found(count: int) -> ImageScore:
    return ImageScore.of(ANNOTATED, np.where(count >= ANNOTATED, ANNOTATED, 0))


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Compare some shares on four images, of which each half has two."""
    rows = tuple(
        Row(name, tmp_path / name, label=None, split="", source_id=name, mpp=None, columns={})
        for name in HALF_OF
    )

    def opened(store: Path) -> Any:
        share, half = store.stem.split("-")[1:]
        images = [
            SimpleNamespace(id=name, share=float(share), half=int(half))
            for name, own in HALF_OF.items()
            if own == int(half)
        ]
        foreground = 30 if float(share) else OWN  # a training has the numbers of a new network
        numbers = {"foreground_percent": foreground, "min_area_px": 30}
        return SimpleNamespace(images=images, instances_of=lambda _: numbers)

    monkeypatch.setattr(cross_scores, "predict", lambda *_, **__: None)
    monkeypatch.setattr(cross_scores, "open_predictions", opened)
    monkeypatch.setattr(cross_scores, "RuleScores", _KnownScores)

    def compare(*shares: float, cut: str = SOURCES) -> Comparison:
        halves = Halves(Manifest(tmp_path, rows), tuple(HALF_OF.values()), tuple(HALF_OF), cut, 64)
        means = {share: [tmp_path, tmp_path] for share in (0.0, *shares)}
        config = FinetuneConfig(calibrate=("foreground_percent",))
        return CrossScores(halves, means, config, tmp_path).compare()

    return compare


def test_of_several_sources_weights_and_numbers_are_chosen(compare: Any) -> None:
    comparison = compare(0.5)
    assert comparison.start == [_found(6)] * 4
    assert comparison.tuned == [_found(12)] * 4
    assert comparison.choice.share == 0.5
    assert comparison.choice.numbers["foreground_percent"] == OTHER
    assert comparison.is_better
    report = comparison.to_json()
    assert (report["share_of_fine_tuned"], report["numbers_are_chosen"]) == (0.5, True)


def test_of_one_source_weights_alone_are(compare: Any) -> None:
    comparison = compare(0.5, cut="quarters of one image")
    assert comparison.tuned == [_found(9)] * 4
    assert comparison.choice == Choice(0.5, None)
    assert comparison.to_json()["numbers_are_chosen"] is False


def test_numbers_that_suit_one_half_alone_are_left(
    compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_KnownScores, "more_of_half", (7, -7))
    comparison = compare(0.5)
    assert comparison.tuned == [_found(9)] * 4
    assert comparison.choice == Choice(0.5, None)
    assert comparison.is_better


@pytest.mark.parametrize("cut", [SOURCES, "quarters of one image"])
def test_without_weights_that_gain_it_is_the_start(compare: Any, cut: str) -> None:
    """Though another number would find more."""
    comparison = compare(cut=cut)
    assert comparison.tuned == comparison.start
    assert not comparison.is_better
    assert comparison.to_json()["share_of_fine_tuned"] == 0


def test_a_half_is_scored_by_the_choice_of_the_other(
    compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All weights are best on half 1 and worst on half 0, which half 1 must not know."""
    monkeypatch.setattr(_KnownScores, "more_of_half", (0, 0))
    tuned = compare(0.5, 1.0).tuned
    assert tuned[1] == tuned[3] == _found(9), "half 0 chose half of the weights"
    assert tuned[0] == tuned[2] == _found(0), "half 1 chose all of them"
