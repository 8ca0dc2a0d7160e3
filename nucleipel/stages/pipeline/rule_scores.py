"""Score probability maps against annotations under any rule: to calibrate, and to compare."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.instances.rule import InstanceRule
from nucleipel.instances.segment import segment_instances
from nucleipel.io.manifest import Row
from nucleipel.io.slides.slide_reader import Reading
from nucleipel.io.stores.predictions import Prediction
from nucleipel.metrics.scores import ImageScore, pool
from nucleipel.training.coordinate_ascent import Numbers


class RuleScores:
    """Scores of rules on the maps and annotations of some images, which stay in memory.

    Each rule is scored once. Instances and scores are those of `stitch` and `evaluate`.
    """

    def __init__(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], reading: Reading
    ) -> None:
        self._images = [
            (prediction.read_map(), _read_annotation(row, reading))
            for prediction, row in zip(predictions, rows, strict=True)
        ]
        self._known: dict[tuple[tuple[str, Any], ...], list[ImageScore]] = {}

    def scores(self, numbers: Numbers) -> list[ImageScore]:
        """The score of each image under the `InstanceRule` of these numbers."""
        key = tuple(sorted(numbers.items()))
        if key not in self._known:
            rule = InstanceRule(**numbers)
            self._known[key] = [
                ImageScore.of(annotation, segment_instances(probabilities, rule=rule).map)
                for probabilities, annotation in self._images
            ]
        return self._known[key]

    def pooled(
        self, *measures: str, groups: Iterable[Sequence[int]] | None = None
    ) -> Callable[[Numbers], float]:
        """Make a function from numbers to a measure, or the mean of several, over all nuclei.

        With `groups`, places of images, it returns the mean over the groups.
        """
        parts = list(groups or [range(len(self._images))])

        def score(numbers: Numbers) -> float:
            scores = self.scores(numbers)
            pooled = [pool([scores[at] for at in part]) for part in parts]
            return float(np.mean([[part[measure] for measure in measures] for part in pooled]))

        return score


def _read_annotation(row: Row, reading: Reading) -> npt.NDArray[np.integer]:
    """Read a row's instance map in the frame that its image was predicted in."""
    with row.open(reading) as slide:
        known = row.load_annotation(slide.resolution.source_shape)
        with known.open(slide.resolution) as read_ids:
            return read_ids(Box.of_shape(slide.shape))
