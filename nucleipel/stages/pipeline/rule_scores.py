"""Score probability maps against annotations under any rule: to calibrate, and to compare."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.instances.instance_rule import InstanceRule
from nucleipel.instances.segment_map import segment_instances
from nucleipel.io.annotations.annotation import Annotation
from nucleipel.io.manifest import Row
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide_reader import SlideReader
from nucleipel.io.stores.predictions import Prediction
from nucleipel.metrics.scores import ImageScore, pool, total
from nucleipel.training.coordinate_ascent import Numbers

RING_PX = 128
"""Around a region, so that nuclei on its border are whole; `predict` reaches as far."""
LARGEST_PX = 4096
HELD_PX = 2**26
"""Pixels of regions that stay in memory, at 9 bytes or so."""


class RuleScores:
    """Scores of rules on the maps and annotations of some images; each rule is scored once.

    Instances and scores are those of `stitch` and `evaluate`. Of an image that was
    annotated in regions, each is segmented for itself, with `RING_PX` around it
    and in parts of at most `LARGEST_PX`; nothing else of the slide is read. What
    fits into `HELD_PX` stays in memory, as images that were annotated whole do.
    """

    def __init__(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], reading: SlideReader
    ) -> None:
        self._images: list[list[_Part]] = []
        room = HELD_PX
        for prediction, row in zip(predictions, rows, strict=True):
            parts = _parts(prediction, row, reading)
            for place, part in enumerate(parts):
                size = math.prod(part.window.shape)
                if row.region is None or size <= room:
                    parts[place] = replace(part, held=part.read())
                    room -= 0 if row.region is None else size
            self._images.append(parts)
        self._known: dict[tuple[tuple[str, Any], ...], list[ImageScore]] = {}

    def scores(self, numbers: Numbers) -> list[ImageScore]:
        """The score of each image under the `InstanceRule` of these numbers."""
        key = tuple(sorted(numbers.items()))
        if key not in self._known:
            rule = InstanceRule(**numbers)
            self._known[key] = [
                total([part.score(rule) for part in parts]) for parts in self._images
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


Read = tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer], npt.NDArray[np.bool_] | None]
"""(C, H, W) probabilities, (H, W) ids, and (H, W) whether a pixel counts: all do if None."""


@dataclass(frozen=True)
class _Part:
    """What is segmented at a time: a whole image, or `own` pixels of a region in a `window`.

    `held` is the result of `read`, where it stays in memory.
    """

    prediction: Prediction
    annotation: Annotation
    resolution: Resolution
    own: Box
    window: Box
    held: Read | None = None

    def read(self) -> Read:
        whole = self.window == Box.of_shape(self.resolution.shape)
        here = (slice(None), *self.window.slices)
        probabilities = self.prediction.read_map() if whole else self.prediction.open_map()[here]
        with self.annotation.open(self.resolution) as read_ids:
            ids = read_ids(self.window)
        counted = self.annotation.counted(self.window, self.resolution)
        if counted is not None:
            own = np.zeros_like(counted)
            own[self.own.shift(-self.window.y0, -self.window.x0).slices] = True
            counted &= own
        return probabilities, ids, counted

    def score(self, rule: InstanceRule) -> ImageScore:
        probabilities, ids, counted = self.held or self.read()
        return ImageScore.of(ids, segment_instances(probabilities, rule=rule).map, counted)


def _parts(prediction: Prediction, row: Row, reading: SlideReader) -> list[_Part]:
    with row.open(reading) as slide:
        frame = slide.resolution
    known = row.load_annotation(frame.source_shape)
    if row.region is None:
        whole = Box.of_shape(frame.shape)
        return [_Part(prediction, known, frame, whole, whole)]
    return [
        _Part(prediction, known, frame, own, own.grow(RING_PX).clip(frame.shape))
        for piece in known.pieces(frame)
        for own in _cut(piece)
    ]


def _cut(piece: Box) -> Iterator[Box]:
    """Boxes of at most `LARGEST_PX` a side that make up a piece."""
    for y in range(piece.y0, piece.y1, LARGEST_PX):
        for x in range(piece.x0, piece.x1, LARGEST_PX):
            yield Box(y, x, min(y + LARGEST_PX, piece.y1), min(x + LARGEST_PX, piece.x1))
