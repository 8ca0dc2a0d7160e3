"""A square of tissue laid over a slide: mirrored side by side, and shown where a layout has tissue.

A nucleus is drawn, and annotated, wholly or not at all: it is where its
center lies inside the tissue's outline. `SingleNuclei` draws a few nuclei and
nothing between them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.data.synthetic.background import Amount
from nucleipel.data.synthetic.layout import Layout, Outline
from nucleipel.data.synthetic.tissue import Tissue

EDGE_PX = 6
"""Tissue's edge fades over so many pixels."""
REACH_PX = 40
"""No nucleus reaches farther from its center."""

Copy = tuple[int, int]
Index = tuple[slice, slice]


@dataclass(frozen=True)
class SingleNuclei:
    """Nuclei scattered over the whole slide, none closer than `REACH_PX` to its edge."""

    count: int


class LaidTissue:
    """Generated tissue on a slide of (height, width) px.

    Copies of the square are numbered (row, column); every second row and column
    of them is mirrored.
    """

    def __init__(
        self, tissue: Tissue, layout: Layout | SingleNuclei, shape: tuple[int, int], *, seed: int
    ) -> None:
        self._tissue = tissue
        self._shape = shape
        self._columns = -(-shape[1] // tissue.side_px)
        self._single: dict[Copy, list[int]] = {}
        self._outline = None
        if isinstance(layout, SingleNuclei):
            self._single = _scatter(tissue, layout.count, shape, seed)
        else:
            self._outline = Outline(layout, shape, seed)
        self._present = cache(self._find_present)

    def touches(self, box: Box) -> bool:
        """Return whether tissue or a nucleus reaches into a box; it may err towards tissue."""
        if self._outline is None:
            return any(self._present(*copy).any() for copy, _, _ in self._copies(box))
        rows, columns = (
            np.append(np.arange(start, stop, self._outline.step), stop - 1)
            for start, stop in ((box.y0, box.y1), (box.x0, box.x1))
        )
        depth = self._outline.depth(rows[:, None], columns[None])
        return bool(depth.max() > -REACH_PX - 2 * self._outline.step)

    def amount(self, box: Box) -> Amount:
        """Amounts that a box absorbs or emits, (h, w, C)."""
        cover = self._cover(box)[..., None]
        amount = np.empty((*box.shape, self._tissue.within.shape[-1]), np.float32)
        for copy, on_box, on_copy in self._copies(box):
            drawn = self._present(*copy)[_mirrored(self._tissue.owner, copy)[on_copy]]
            between = _mirrored(self._tissue.between, copy)[on_copy] * cover[on_box]
            within = _mirrored(self._tissue.within, copy)[on_copy]
            amount[on_box] = np.where(drawn[..., None], within, between)
        return amount

    def ids(self, box: Box) -> npt.NDArray[np.uint32]:
        """The nuclei of a box, (h, w); their ids have gaps."""
        ids = np.zeros(box.shape, np.uint32)
        for copy, on_box, on_copy in self._copies(box):
            own = _mirrored(self._tissue.ids, copy)[on_copy]
            first = (copy[0] * self._columns + copy[1]) * len(self._tissue.centers)
            ids[on_box] = np.where(self._present(*copy)[own], own + first, 0)
        return ids

    def centers(self) -> npt.NDArray[np.float64]:
        """Center (y, x) of each nucleus, (n, 2)."""
        copies = [copy for copy, _, _ in self._copies(Box.of_shape(self._shape))]
        centers = [_centers(self._tissue, copy)[self._present(*copy)[1:]] for copy in copies]
        return np.concatenate(centers)

    def _cover(self, box: Box) -> npt.NDArray[np.float32]:
        """Share of each pixel that is tissue, 0 to 1."""
        if self._outline is None:
            return np.zeros(box.shape, np.float32)
        rows, columns = np.arange(box.y0, box.y1)[:, None], np.arange(box.x0, box.x1)[None]
        return np.clip(self._outline.depth(rows, columns) / np.float32(EDGE_PX) + 0.5, 0, 1)

    def _copies(self, box: Box) -> Iterator[tuple[Copy, Index, Index]]:
        """The copies that a box meets, each with the shared part as index of the box and of it."""
        side = self._tissue.side_px
        for row in range(box.y0 // side, -(-box.y1 // side)):
            for column in range(box.x0 // side, -(-box.x1 // side)):
                copy = Box(0, 0, side, side).shift(row * side, column * side)
                on_box, on_copy = shared(box, copy)
                yield (row, column), on_box, on_copy

    def _find_present(self, row: int, column: int) -> npt.NDArray[np.bool_]:
        """Return which nuclei of a copy are drawn, (n + 1,), by id."""
        present = np.zeros(len(self._tissue.centers) + 1, bool)
        present[self._single.get((row, column), [])] = True
        if self._outline is not None:
            centers = _centers(self._tissue, (row, column))
            y, x = np.rint(centers).astype(int).T
            on_slide = (centers < self._shape).all(axis=1)
            present[1:] = on_slide & (self._outline.depth(y, x) > 0)
        return present


def shared(box: Box, other: Box) -> tuple[Index, Index]:
    """The part that two boxes share, as an index of the first and of the second; may be empty."""
    y0, x0 = max(box.y0, other.y0), max(box.x0, other.x0)
    both = Box(y0, x0, max(min(box.y1, other.y1), y0), max(min(box.x1, other.x1), x0))
    return both.shift(-box.y0, -box.x0).slices, both.shift(-other.y0, -other.x0).slices


def _mirrored(square: npt.NDArray[Any], copy: Copy) -> npt.NDArray[Any]:
    down, right = (slice(None, None, -1) if at % 2 else slice(None) for at in copy)
    return square[down, right]


def _centers(tissue: Tissue, copy: Copy) -> npt.NDArray[np.float64]:
    """Centers (n, 2) on the slide of the nuclei of a copy."""
    turned = np.array(copy) % 2 == 1
    own = np.where(turned, tissue.side_px - 1 - tissue.centers, tissue.centers)
    return own + np.multiply(copy, tissue.side_px)


def _scatter(
    tissue: Tissue, count: int, shape: tuple[int, int], seed: int
) -> dict[Copy, list[int]]:
    """The ids of randomly chosen nuclei, by copy."""
    draw = np.random.default_rng((seed, 8))
    kept: dict[Copy, list[int]] = {}
    while count > 0:
        row, column = (int(draw.integers(-(-length // tissue.side_px))) for length in shape)
        number = int(draw.integers(len(tissue.centers)))
        place = _centers(tissue, (row, column))[number]
        inside = (place >= REACH_PX) & (place < np.array(shape) - REACH_PX)
        own = kept.setdefault((row, column), [])
        if inside.all() and number + 1 not in own:
            own.append(number + 1)
            count -= 1
    return kept
