"""Score probability maps against annotations under any rule: to calibrate, and to compare."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.instances.instance_rule import InstanceRule
from nucleipel.instances.segment_map import BLOCK_PX, segment_instances
from nucleipel.io.annotations.annotation import Annotation
from nucleipel.io.manifest import Row
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.stores.predictions import Prediction
from nucleipel.metrics.matching import OverlapCounter
from nucleipel.metrics.scores import ImageScore, pool, total
from nucleipel.training.coordinate_ascent import Numbers

RING_PX = 128
"""Around a region, so that nuclei on its border are whole; `predict` reaches as far."""
LARGEST_PX = 4096
"""Side of the largest square that is segmented and scored at once, not block by block."""
HELD_PX = 2**26
"""Pixels that stay in memory, at 9 bytes or so."""


class RuleScores:
    """Scores of rules on the maps and annotations of some images; each rule is scored once.

    Instances and scores are those of `stitch` and `evaluate`. Of an image that was
    annotated in regions, each is segmented for itself, with `RING_PX` around it;
    nothing else of the slide is read. What fits into `HELD_PX` stays in memory; what is
    larger than `LARGEST_PX` never is in memory as a whole, and has the same scores.
    """

    def __init__(self, predictions: Sequence[Prediction], rows: Sequence[Row]) -> None:
        self._images: list[list[_Part]] = []
        room = HELD_PX
        for prediction, row in zip(predictions, rows, strict=True):
            parts = _parts(prediction, row)
            for place, part in enumerate(parts):
                size = math.prod(part.window.shape)
                if size <= min(room, LARGEST_PX**2):
                    parts[place] = replace(part, held=part.read())
                    room -= size
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
    """A part that is scored on its own: an image, or its `own` pixels of a region in a `window`.

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
            return probabilities, read_ids(self.window), self._counted(self.window)

    def score(self, rule: InstanceRule) -> ImageScore:
        if self.held is None and math.prod(self.window.shape) > LARGEST_PX**2:
            return self._score_by_blocks(rule)
        probabilities, ids, counted = self.held or self.read()
        return ImageScore.of(ids, segment_instances(probabilities, rule=rule).map, counted)

    def _score_by_blocks(self, rule: InstanceRule) -> ImageScore:
        counter = OverlapCounter()
        with (
            self.annotation.open(self.resolution) as read_ids,
            TemporaryDirectory(prefix=".scoring-", dir=self.prediction.folder) as scratch,
        ):

            def count(box: Box, predicted: npt.NDArray[np.uint32]) -> None:
                here = box.shift(self.window.y0, self.window.x0)
                counter.add(read_ids(here), predicted, self._counted(here))

            probabilities = _MapWindow(self.prediction.open_map(), self.window)
            counted = _CountedMap(self.window.shape, count)
            segment_instances(
                probabilities, rule=rule, block_px=BLOCK_PX, out=counted, scratch=Path(scratch)
            )
        return ImageScore.of_overlap(counter.overlap())

    def _counted(self, box: Box) -> npt.NDArray[np.bool_] | None:
        """Return whether each pixel of a box was annotated, and is this part's; None if all are."""
        counted = self.annotation.counted(box, self.resolution)
        if counted is None:
            return None
        y, x = np.arange(box.y0, box.y1), np.arange(box.x0, box.x1)
        rows = (self.own.y0 <= y) & (y < self.own.y1)
        columns = (self.own.x0 <= x) & (x < self.own.x1)
        return np.asarray(counted & rows[:, None] & columns)


class _MapWindow:
    """A window of a (C, H, W) uint8 map, read by parts, as `segment_instances` takes it."""

    dtype = np.dtype(np.uint8)

    def __init__(self, probabilities: Any, window: Box) -> None:
        self._map, self._window = probabilities, window
        self.shape = (probabilities.shape[0], *window.shape)

    def is_background(self, box: Box) -> bool:
        known = getattr(self._map, "is_background", None)
        return known is not None and bool(known(box.shift(self._window.y0, self._window.x0)))

    def __getitem__(self, index: tuple[slice, slice, slice]) -> npt.NDArray[np.uint8]:
        channels, rows, columns = index
        box = Box(rows.start, columns.start, rows.stop, columns.stop)
        here = box.shift(self._window.y0, self._window.x0).slices
        return np.asarray(self._map[(channels, *here)])


class _CountedMap:
    """An instance map that is not kept: each box of it is passed on as it is written."""

    dtype = np.dtype(np.uint32)

    def __init__(
        self, shape: tuple[int, int], count: Callable[[Box, npt.NDArray[np.uint32]], None]
    ) -> None:
        self.shape, self._count = shape, count

    def __setitem__(self, index: tuple[slice, slice], values: npt.NDArray[np.uint32]) -> None:
        rows, columns = index
        self._count(Box(rows.start, columns.start, rows.stop, columns.stop), values)


def _parts(prediction: Prediction, row: Row) -> list[_Part]:
    frame = prediction.resolution
    known = row.load_annotation(frame.source_shape)
    if row.region is None:
        whole = Box.of_shape(frame.shape)
        return [_Part(prediction, known, frame, whole, whole)]
    return [
        _Part(prediction, known, frame, piece, piece.grow(RING_PX).clip(frame.shape))
        for piece in known.pieces(frame)
    ]
