"""Things on a generated slide that are no tissue: dust, hairs, pen, coverslip edges, void.

All but the void are strokes: lines of some width, color and softness, a speck of
dust being a line of one point. On bright ground a stroke absorbs light, on
dark ground it shines. The void is what a scanner did not look at: exactly
black or white.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box

PEN_ABSORBS = {"blue": (0.85, 0.7, 0.2), "green": (0.8, 0.25, 0.6), "black": (0.85, 0.85, 0.82)}
GLOW = 0.2
"""Brightness of a stroke on dark ground, in units of a bright nucleus, per share of light that
it absorbs."""
CURVE_POINTS = 24


@dataclass(frozen=True)
class Stroke:
    """A line through `points` (n, 2) float64, (y, x) px; `amount` in each of three channels."""

    points: npt.NDArray[np.float64]
    width_px: float
    softness_px: float
    amount: tuple[float, float, float]


class Artifact(Protocol):
    """Something that becomes strokes on a slide of (height, width) px."""

    def strokes(self, shape: tuple[int, int], draw: np.random.Generator) -> Iterable[Stroke]:
        """Place it."""


@dataclass(frozen=True)
class Dust:
    """Dark specks, a third of them out of focus: large and faint."""

    specks: int = 200

    def strokes(self, shape: tuple[int, int], draw: np.random.Generator) -> Iterable[Stroke]:
        """Specks at random places."""
        for index in range(self.specks):
            place = draw.uniform((0, 0), shape)[None]
            blurred = index % 3 == 0
            width, soft = (40, 30) if blurred else (float(draw.uniform(4, 24)), 2)
            gray = 0.15 if blurred else float(draw.uniform(0.3, 0.8))
            yield Stroke(place, width, soft, (gray, gray, gray))


@dataclass(frozen=True)
class Hair:
    """A hair or fiber: a long thin brown curve."""

    count: int = 1
    length_px: float = 3000
    width_px: float = 20

    def strokes(self, shape: tuple[int, int], draw: np.random.Generator) -> Iterable[Stroke]:
        """Curves from random places."""
        for _ in range(self.count):
            length = min(self.length_px, 0.7 * min(shape))
            points = _curve(shape, length, 0.25, draw)
            yield Stroke(points, self.width_px, 4, (0.5, 0.6, 0.7))


@dataclass(frozen=True)
class Pen:
    """Strokes of a felt pen, some 1.5 mm wide on a real slide."""

    color: Literal["blue", "green", "black"] = "blue"
    count: int = 2
    width_px: float = 400

    def strokes(self, shape: tuple[int, int], draw: np.random.Generator) -> Iterable[Stroke]:
        """Curves from random places."""
        for _ in range(self.count):
            width = min(self.width_px, 0.1 * min(shape))
            points = _curve(shape, 0.5 * min(shape), 0.08, draw)
            yield Stroke(points, width, 12, PEN_ABSORBS[self.color])


@dataclass(frozen=True)
class CoverslipEdge:
    """The edge of the coverslip: a thin dark line from top to bottom, a faint one beside it."""

    at: float = 0.93
    """Place where it crosses the slide, as a share of its width."""

    def strokes(self, shape: tuple[int, int], draw: np.random.Generator) -> Iterable[Stroke]:
        """Two parallel lines, not quite upright."""
        tilt = float(draw.uniform(-0.02, 0.02)) * shape[1]
        middle = self.at * shape[1]
        for aside, width, gray in ((0.0, 10.0, 0.45), (30.0, 24.0, 0.12)):
            ends = [[-100.0, middle - tilt + aside], [shape[0] + 100.0, middle + tilt + aside]]
            yield Stroke(np.array(ends), width, 3, (gray, gray, gray))


@dataclass(frozen=True)
class Void:
    """Fields that a scanner left out, exactly `value` in all channels.

    `padding`: that share of each side, at the right and at the bottom (MIRAX:
    also at the left and top), is void. `unscanned`: so are the fields of
    `field_px` that hold no tissue, nor touch one that does.
    """

    value: int = 0
    padding: float = 0.15
    on_all_sides: bool = False
    unscanned: bool = False
    field_px: int = 512

    def place(self, shape: tuple[int, int], holds_tissue: Callable[[Box], bool]) -> "PlacedVoid":
        """The void of a slide of (height, width) px."""
        side = self.field_px
        rows, columns = (-(-length // side) for length in shape)
        fields = np.zeros((rows, columns), bool)
        if self.unscanned:
            for row, column in np.ndindex(rows, columns):
                box = Box(0, 0, side, side).shift(row * side, column * side).clip(shape)
                fields[row, column] = not holds_tissue(box)
            fields = cv2.erode(fields.astype(np.uint8), np.ones((3, 3))) > 0
        down, across = round(self.padding * rows), round(self.padding * columns)
        fields[rows - down :], fields[:, columns - across :] = True, True
        if self.on_all_sides:
            fields[:down], fields[:, :across] = True, True
        return PlacedVoid(self.value, fields, side)


@dataclass(frozen=True)
class PlacedVoid:
    """Fields of `side` px that a scanner left out, (rows, columns) bool; all of them `value`."""

    value: int
    fields: npt.NDArray[np.bool_]
    side: int

    def holds(self, box: Box) -> npt.NDArray[np.bool_]:
        """Return which pixels (h, w) of a box are void."""
        rows = np.arange(box.y0, box.y1) // self.side
        columns = np.arange(box.x0, box.x1) // self.side
        return self.fields[np.ix_(rows, columns)]

    def holds_points(
        self, y: npt.NDArray[np.integer], x: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.bool_]:
        """Return which points (n,) on the slide are void."""
        return self.fields[y // self.side, x // self.side]


class Strokes:
    """The strokes of a slide, to be asked for by box."""

    def __init__(
        self,
        artifacts: Iterable[Artifact],
        shape: tuple[int, int],
        *,
        channels: int,
        dark: bool,
        seed: int,
    ) -> None:
        self._strokes = [
            stroke
            for index, artifact in enumerate(artifacts)
            for stroke in artifact.strokes(shape, np.random.default_rng((seed, 7, index)))
        ]
        self._channels = channels
        self._scale = GLOW if dark else 1.0
        starts, ends, reach, owner = [], [], [], []
        for index, stroke in enumerate(self._strokes):
            points = stroke.points
            starts.append(points[: max(len(points) - 1, 1)])
            ends.append(points[1:] if len(points) > 1 else points)
            reach += [stroke.width_px / 2 + stroke.softness_px] * len(starts[-1])
            owner += [index] * len(starts[-1])
        none = np.zeros((0, 2))
        self._starts, self._ends = (np.concatenate([none, *some]) for some in (starts, ends))
        self._reach, self._owner = np.array(reach), np.array(owner, int)

    def _touched(self, box: Box) -> npt.NDArray[np.bool_]:
        """Return which segments may reach into a box."""
        if not len(self._reach):
            return np.zeros(0, bool)
        middle = np.array([box.y0 + box.y1, box.x0 + box.x1]) / 2
        away = _distance(middle[0], middle[1], self._starts, self._ends)
        near: npt.NDArray[np.bool_] = away <= self._reach + np.hypot(*box.shape) / 2
        return near

    def touch(self, box: Box) -> bool:
        """Return whether any stroke may reach into a box."""
        return bool(self._touched(box).any())

    def amounts(self, box: Box) -> Iterable[npt.NDArray[np.float32]]:
        """(h, w, channels) of each stroke that may reach into a box."""
        touched = self._touched(box)
        y = np.arange(box.y0, box.y1)[:, None] + 0.5
        x = np.arange(box.x0, box.x1)[None] + 0.5
        for index in np.unique(self._owner[touched]):
            stroke, own = self._strokes[index], touched & (self._owner == index)
            away = np.full(box.shape, np.inf)
            for start, end in zip(self._starts[own], self._ends[own], strict=True):
                np.minimum(away, _distance(y, x, start, end), out=away)
            cover = np.clip((stroke.width_px / 2 - away) / stroke.softness_px + 0.5, 0, 1)
            amount = self._scale * np.array(stroke.amount, np.float32)
            amount = amount if self._channels == 3 else amount.mean(keepdims=True)
            yield cover.astype(np.float32)[..., None] * amount


def _curve(
    shape: tuple[int, int], length: float, bend: float, draw: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Points (n, 2) of a smooth curve that begins at a random place."""
    step = length / (CURVE_POINTS - 1)
    turns = draw.uniform(0, 2 * np.pi) + np.cumsum(draw.normal(0, bend, CURVE_POINTS - 1))
    moves = step * np.stack([np.sin(turns), np.cos(turns)], axis=1)
    middle = draw.uniform((0.2, 0.2), (0.8, 0.8)) * shape
    points = np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])
    return points - points.mean(axis=0) + middle


def _distance(
    y: npt.NDArray[np.floating],
    x: npt.NDArray[np.floating],
    start: npt.NDArray[np.float64],
    end: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """From places (y, x) to segments, whose ends have (y, x) last."""
    dy, dx = end[..., 0] - start[..., 0], end[..., 1] - start[..., 1]
    square = np.maximum(dy * dy + dx * dx, 1e-9)
    along = ((y - start[..., 0]) * dy + (x - start[..., 1]) * dx) / square
    along = np.clip(along, 0, 1)
    off_y = y - start[..., 0] - along * dy
    off_x = x - start[..., 1] - along * dx
    return np.sqrt(off_y * off_y + off_x * off_x)
