"""Layouts of tissue on a generated slide: islands, sections, cores of a tissue microarray.

A layout is a smooth height on a coarse grid; the highest part of it, as large
as the share that is wanted, is tissue.
"""

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

Grid = npt.NDArray[np.float32]
STEPS_PX = (4, 32)
"""Smallest and largest side of a square of the grid."""


class Layout(Protocol):
    """A share of tissue, and heights whose top becomes tissue."""

    @property
    def share(self) -> float:
        """Share of the slide that is tissue, 0 to 1."""

    def heights(self, y: Grid, x: Grid, draw: np.random.Generator) -> Grid:
        """Heights at the rows `y` (h, 1) and columns `x` (1, w) of the grid.

        Places are in units of the slide's longer side.
        """


@dataclass(frozen=True)
class Islands:
    """Islands of tissue of all shapes; about `across` fit along a side."""

    share: float
    across: int = 6

    def heights(self, y: Grid, x: Grid, draw: np.random.Generator) -> Grid:
        """Smooth noise."""
        return _smooth(y, x, 2 * self.across, draw)


@dataclass(frozen=True)
class Sections:
    """Several cuts of one block, side by side: ovals with uneven outlines."""

    share: float
    count: int = 3

    def heights(self, y: Grid, x: Grid, draw: np.random.Generator) -> Grid:
        """One hill a section."""
        step = float(x.max()) / self.count
        row = float(y.max()) / 2
        hills = [
            -np.hypot((y - row) / 0.8, (x - step * (index + 0.5)) / 0.5)
            for index in range(self.count)
        ]
        return np.max(hills, axis=0) + 0.05 * step * _smooth(y, x, 20, draw)


@dataclass(frozen=True)
class Cores:
    """A tissue microarray: `across` round cores along the longer side."""

    share: float
    across: int = 8

    def heights(self, y: Grid, x: Grid, draw: np.random.Generator) -> Grid:
        """One round hill a core, a little out of line."""
        pitch = 1 / self.across
        depth = np.full((len(y), x.shape[1]), -1.0, np.float32)
        for row in range(max(1, round(float(y.max()) / pitch))):
            for column in range(max(1, round(float(x.max()) / pitch))):
                place = (np.array([row, column]) + 0.5 + draw.uniform(-0.08, 0.08, 2)) * pitch
                depth = np.maximum(depth, -np.hypot(y - place[0], x - place[1]))
        return depth


class Outline:
    """Tissue's outline on a slide of (height, width) px: `depth` is how far inside a place lies."""

    def __init__(self, layout: Layout, shape: tuple[int, int], seed: int) -> None:
        low, high = STEPS_PX
        self.step = min(max(max(shape) // 256, low), high)
        size = [-(-length // self.step) for length in shape]
        y, x = (self._places(length, max(shape)) for length in size)
        if layout.share >= 1:
            self._depth = np.full(size, 1e6, np.float32)
            return
        draw = np.random.default_rng((seed, 6))
        heights = layout.heights(y[:, None], x[None], draw)
        inside = (heights > np.quantile(heights, 1 - layout.share)).astype(np.uint8)
        ground = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_5)
        self._depth = (
            cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5) - ground
        ) * self.step

    def _places(self, length: int, longest_px: int) -> Grid:
        places = (np.arange(length) + 0.5) * self.step / longest_px
        return places.astype(np.float32)

    def depth(self, rows: npt.NDArray[np.integer], columns: npt.NDArray[np.integer]) -> Grid:
        """Pixels to the outline, inwards positive, at rows (h, 1) x columns (1, w) or at points."""
        (top, down), (left, right) = (
            self._between(places, length)
            for places, length in zip((rows, columns), self._depth.shape, strict=True)
        )
        upper = self._depth[top, left] * (1 - right) + self._depth[top, left + 1] * right
        lower = self._depth[top + 1, left] * (1 - right) + self._depth[top + 1, left + 1] * right
        depth = upper * (1 - down) + lower * down
        return depth.astype(np.float32)

    def _between(
        self, places: npt.NDArray[np.integer], length: int
    ) -> tuple[npt.NDArray[np.int64], Grid]:
        place = np.clip((places.astype(np.float64) + 0.5) / self.step - 0.5, 0, length - 1.000001)
        start = np.minimum(place.astype(np.int64), length - 2)
        return start, (place - start).astype(np.float32)


def _smooth(y: Grid, x: Grid, across: int, draw: np.random.Generator) -> Grid:
    """Noise of about unit variance with `across` hills along the longer side."""
    coarse = draw.standard_normal((across, across)).astype(np.float32)
    size = (x.shape[1], len(y))
    longest = max(size)
    square = cv2.resize(coarse, (longest, longest), interpolation=cv2.INTER_CUBIC)
    return square[: size[1], : size[0]]
