"""Scores of fine-tuned networks on the half of the images that they were not trained on.

How much of the fine-tuned weights is taken is chosen on one half and scored on the
other, both ways: no image is scored by a choice that it took part in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.config import FinetuneConfig, PredictConfig
from nucleipel.config.pipeline.read_images import ReadConfig
from nucleipel.core.progress import track
from nucleipel.io.stores.predictions import Prediction, open_predictions
from nucleipel.metrics.bootstrap import Interval
from nucleipel.metrics.gains import pooled_gains
from nucleipel.metrics.scores import ImageScore, pool
from nucleipel.stages.pipeline.halves import Halves
from nucleipel.stages.pipeline.predict import predict
from nucleipel.stages.pipeline.rule_scores import RuleScores

SOUGHT = ("pq", "aji")
"""Their mean is maximized: PQ alone drops doubtful nuclei."""
REPORTED = ("pq", "aji", "dice", "ap@0.50", "ap@0.75")
LEVEL = 0.9
"""Level of the intervals: where one lies above 0, 95 of 100 draws of the sources gain."""


@dataclass(frozen=True)
class Comparison:
    """Scores of each image under the start and under what was chosen on the other half.

    `gains` are what the pooled scores gain, with intervals of `LEVEL` by draws of the sources;
    `share` of the fine-tuned weights is best on all images.
    """

    start: list[ImageScore]
    tuned: list[ImageScore]
    sources: tuple[str, ...]
    gains: dict[str, Interval]
    share: float

    @property
    def is_better(self) -> bool:
        """Return whether the score that is sought gains in 95 of 100 draws of the sources."""
        return self.share > 0 and self.gains["sought"].low > 0

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
            "share_of_fine_tuned": self.share if self.is_better else 0.0,
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
    share 0 is the start itself, twice. Each image has the numbers of the instance rule that the
    start has for it.
    """

    def __init__(
        self,
        halves: Halves,
        means: Mapping[float, Sequence[Path]],
        config: FinetuneConfig,
        work: Path,
    ) -> None:
        self._halves = halves
        predicted = PredictConfig(
            **config.part(ReadConfig).model_dump(), device=config.device, tissue="off"
        )
        self._of_share: dict[float, list[ImageScore]] = {}
        numbers: dict[str, Any] = {}
        for share, checkpoints in track(sorted(means.items()), "scoring the other half"):
            images: dict[str, Prediction] = {}
            for half in (0, 1):
                rows, store = halves.of(half), work / f"maps-{share:g}-{half}.zarr"
                predict(checkpoints[1 - half], rows, store, predicted, within_regions=True)
                found = open_predictions(store)
                images |= {image.id: image for image in found.images}
                if not share:
                    numbers |= {image.id: found.instances_of(image) for image in found.images}
            self._of_share[share] = [
                RuleScores([images[row.id]], [row]).scores(numbers[row.id])[0]
                for row in halves.rows
            ]

    def choose(self, of_halves: Iterable[int]) -> float:
        """The share of best pooled score over the images of some halves; the least of equals."""
        places = [place for half in of_halves for place in self._halves.places(half)]

        def reached(share: float) -> float:
            return sought(pool([self._of_share[share][place] for place in places]))

        return max(sorted(self._of_share), key=reached)

    def compare(self) -> Comparison:
        """Compare the start with what is chosen on either half, on the other half."""
        start = self._of_share[0.0]
        tuned = list(start)
        for half in (0, 1):
            of_choice = self._of_share[self.choose([1 - half])]
            for place in self._halves.places(half):
                tuned[place] = of_choice[place]
        sources = self._halves.sources
        gains = pooled_gains(start, tuned, sources, _values, level=LEVEL)
        return Comparison(start, tuned, sources, gains, self.choose((0, 1)))


def _values(pooled: Mapping[str, float]) -> dict[str, float]:
    return {"sought": sought(pooled), **{name: pooled[name] for name in REPORTED}}
