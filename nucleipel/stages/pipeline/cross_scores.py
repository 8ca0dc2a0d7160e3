"""Scores of fine-tuned networks on the half of the images that they were not trained on.

What is chosen (how much of the fine-tuned weights, which numbers of the instance
rule) is chosen on one half and scored on the other, both ways: no image is scored
by a choice that it took part in.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.config import FinetuneConfig, PredictConfig
from nucleipel.config.pipeline.calibrate import CalibrateConfig
from nucleipel.config.pipeline.read_images import ReadConfig
from nucleipel.core.progress import track
from nucleipel.io.stores.predictions import Prediction, open_predictions
from nucleipel.metrics.bootstrap import Interval
from nucleipel.metrics.gains import pooled_gains
from nucleipel.metrics.scores import ImageScore, pool
from nucleipel.stages.pipeline.halves import Halves
from nucleipel.stages.pipeline.predict import predict
from nucleipel.stages.pipeline.rule_scores import RuleScores
from nucleipel.training.coordinate_ascent import Numbers, coordinate_ascent

SOUGHT = ("pq", "aji")
"""Their mean is maximized: PQ alone drops doubtful nuclei."""
REPORTED = ("pq", "aji", "dice", "ap@0.50", "ap@0.75")
ROUNDS = 2
LEVEL = 0.9
"""Level of the intervals: where one lies above 0, 95 of 100 draws of the sources gain."""

Candidates = Mapping[str, Sequence[Any]]
"""What is tried for numbers of the instance rule; nothing, to leave them as they are."""


@dataclass(frozen=True)
class Choice:
    """A share of the fine-tuned weights, and numbers of the instance rule for all images.

    Without numbers each image has those that the start has for it.
    """

    share: float
    numbers: Numbers | None


START = Choice(0.0, None)


@dataclass(frozen=True)
class Comparison:
    """Scores of each image under the start and under what was chosen on the other half.

    `gains` are what the pooled scores gain, with intervals of `LEVEL` by draws of the sources.
    `choice` is what is best on all images.
    """

    start: list[ImageScore]
    tuned: list[ImageScore]
    sources: tuple[str, ...]
    gains: dict[str, Interval]
    choice: Choice

    @property
    def is_better(self) -> bool:
        """Return whether the score that is sought gains in 95 of 100 draws of the sources."""
        return self.choice.share > 0 and self.surest > 0

    @property
    def surest(self) -> float:
        """Return the least that the score that is sought gains in 95 of 100 draws."""
        return self.gains["sought"].low

    @property
    def kept(self) -> str:
        """Return which weights are kept: "fine-tuned" or "start"."""
        return "fine-tuned" if self.is_better else "start"

    def describe(self) -> str:
        """Describe the outcome in one line."""
        gain, before = self.gains["sought"], sought(pool(self.start))
        kept = "the fine-tuned weights are kept" if self.is_better else "the start is kept"
        return (
            f"{kept}: mean of PQ and AJI {before:.3f} with the start, {before + gain.mean:.3f}"
            f" fine-tuned, held apart ({gain.mean:+.3f}, 90 % interval {gain.low:+.3f} to"
            f" {gain.high:+.3f}, {len(set(self.sources))} parts)"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        of_each = {"start": pool(self.start), "fine_tuned": pool(self.tuned)}
        return {
            "share_of_fine_tuned": self.choice.share if self.is_better else 0.0,
            "numbers_are_chosen": self.is_better and self.choice.numbers is not None,
            "pooled_over_nuclei": {
                name: {measure: scores[measure] for measure in REPORTED}
                for name, scores in of_each.items()
            },
            "gains": {
                name: {"gain": gain.mean, "from": gain.low, "to": gain.high}
                for name, gain in self.gains.items()
            },
            "parts": len(set(self.sources)),
            "annotated_nuclei": sum(score.annotated_count for score in self.start),
        }

    def table(self, halves: Halves) -> list[dict[str, Any]]:
        """Rows of the CSV, one an image or part."""
        rows = zip(halves.rows, self.sources, halves.half_of, self.start, self.tuned, strict=True)
        return [
            {
                "id": row.id,
                "source": source,
                "half": half,
                "annotated_nuclei": start.annotated_count,
                **{f"start_{name}": start.to_scores()[name] for name in REPORTED},
                **{f"fine_tuned_{name}": tuned.to_scores()[name] for name in REPORTED},
            }
            for row, source, half, start, tuned in rows
        ]


def sought(scores: Mapping[str, float]) -> float:
    """The score that is maximized, of pooled scores."""
    return float(np.mean([scores[name] for name in SOUGHT]))


class CrossScores:
    """Scores of all means of the start with fine-tuned networks, each half by the other's.

    `means` has for each share of the fine-tuned weights the checkpoints of half 0 and 1; the
    share 0 is the start itself, twice. Its numbers of the rule may be others for stained tissue;
    those that are chosen hold for all images.
    """

    def __init__(
        self,
        halves: Halves,
        means: Mapping[float, Sequence[Path]],
        config: FinetuneConfig,
        work: Path,
    ) -> None:
        self._halves = halves
        self._candidates = {
            name: values
            for name, values in CalibrateConfig().candidates().items()
            if name in config.calibrate
        }
        predicted = PredictConfig(
            **config.part(ReadConfig).model_dump(), device=config.device, tissue="off"
        )
        self._scores: dict[float, RuleScores] = {}
        of_start: dict[str, Numbers] = {}
        for share, checkpoints in track(means.items(), "predicting the other half"):
            maps: dict[str, Prediction] = {}
            for half in (0, 1):
                rows, store = halves.of(half), work / f"maps-{share:g}-{half}.zarr"
                predict(checkpoints[1 - half], rows, store, predicted, within_regions=True)
                found = open_predictions(store)
                maps |= {image.id: image for image in found.images}
                if not share:
                    of_start |= {image.id: found.instances_of(image) for image in found.images}
            of_rows = [maps[row.id] for row in halves.rows]
            self._scores[share] = RuleScores(of_rows, list(halves.rows))
        self._own = [of_start[row.id] for row in halves.rows]
        self._numbers = max(self._own, key=self._own.count)

    def compare(self) -> Comparison:
        """Compare the start with what is chosen on either half, on the other half.

        Weights are chosen alone, and together with numbers of the rule; of both comparisons the
        one whose gain is surer is returned. Numbers of the start itself are never chosen anew, and
        none are where all images are of one source: those that suit few images do not suit others
        (docs/own_data.md).
        """
        alone = self._compare({})
        if self._halves.are_of_one_source or not self._candidates:
            return alone
        return max(alone, self._compare(self._candidates), key=lambda found: found.surest)

    def _compare(self, candidates: Candidates) -> Comparison:
        start = self._scored(START)
        tuned = list(start)
        for half in (0, 1):
            of_choice = self._scored(self._choose([1 - half], candidates))
            for place in self._halves.places(half):
                tuned[place] = of_choice[place]
        sources = self._halves.sources
        gains = pooled_gains(start, tuned, sources, _values, level=LEVEL)
        return Comparison(start, tuned, sources, gains, self._choose((0, 1), candidates))

    def _choose(self, of_halves: Iterable[int], candidates: Candidates) -> Choice:
        """The share and numbers of best pooled score over the images of some halves."""
        places = [place for half in of_halves for place in self._halves.places(half)]
        tried = (
            found
            for share in track(self._scores, "choosing")
            for found in self._tried(share, places, candidates)
        )
        return max(tried, key=lambda found: found[1])[0]

    def _tried(
        self, share: float, places: list[int], candidates: Candidates
    ) -> Iterator[tuple[Choice, float]]:
        if not candidates or not share:
            of_images = self._scored(Choice(share, None))
            yield Choice(share, None), sought(pool([of_images[place] for place in places]))
            return
        score = self._scores[share].pooled(*SOUGHT, groups=[places])
        for numbers, reached in coordinate_ascent(self._numbers, candidates, score, rounds=ROUNDS):
            yield Choice(share, numbers), reached

    def _scored(self, choice: Choice) -> list[ImageScore]:
        """The score of each image under a choice."""
        scores = self._scores[choice.share]
        if choice.numbers is not None:
            return scores.scores(choice.numbers)
        return [scores.scores(own)[place] for place, own in enumerate(self._own)]


def _values(pooled: Mapping[str, float]) -> dict[str, float]:
    return {"sought": sought(pooled), **{name: pooled[name] for name in REPORTED}}
