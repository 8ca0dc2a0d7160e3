"""Ids drawn on another grid, with smooth contours in place of the corners of working pixels.

A drawn pixel takes the id with the greatest weight in the 4 x 4 working pixels
around its center; their weights are those of the cubic B-spline, as integers. So
a drawn pixel depends on ids at most two working pixels away, and on nothing else.

A pixel of a nucleus that lies in no block of 2 x 2 pixels of this nucleus keeps its
id. So no nucleus is lost on a finer grid: between the centers of such a block, its
id has more than two thirds of the weight.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucleipel.core.compiled import compiled, compiled_inner

REACH_PX = 2
"""Working pixels between a drawn pixel and the ids that it depends on."""
ONE = 2**12
"""The sum of the weights along an axis: products of two fit into 32 bits."""

Ids = npt.NDArray[np.uint32]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AxisWeights:
    """For n drawn pixels along an axis: what working pixels they take, with which weights.

    Attributes
    ----------
    under : (n,) int64
        The working pixel under the center.
    taken : (n, 4) int64
        The four working pixels around the center; at the border the last one again.
    weights : (n, 4) int64
        Their weights; `ONE` in all, or off by rounding.
    """

    under: Places
    taken: Places
    weights: Places

    @classmethod
    def of_axis(cls, under: Places, working: int, *, ratio: float) -> "AxisWeights":
        """The whole axis, `ratio` drawn pixels for each of `working` ones."""
        center = (np.arange(len(under)) + 0.5) * (1 / ratio) - 0.5
        first = np.floor(center).astype(np.int64)
        t = (center - first)[:, None]
        weights = [
            (1 - t) ** 3,
            3 * t**3 - 6 * t**2 + 4,
            3 * (1 - t) ** 3 - 6 * (1 - t) ** 2 + 4,
            t**3,
        ]
        return cls(
            under=under,
            taken=np.clip(first[:, None] + np.arange(-1, 3), 0, working - 1),
            weights=np.rint(np.concatenate(weights, axis=1) * (ONE / 6)).astype(np.int64),
        )

    def part(self, index: slice, first: int) -> "AxisWeights":
        """A part of the axis, with working pixels counted from `first`."""
        return AxisWeights(
            self.under[index] - first, self.taken[index] - first, self.weights[index]
        )


class SmoothContours:
    """The drawn (H, W) map of a working (h, w) one, part by part.

    Parameters
    ----------
    under : ((H,) int64, (W,) int64)
        The working row or column under the center of each drawn one.
    working : (int, int)
        Shape of the working map.
    ratio : float
        Drawn pixels per working pixel, along an axis; 1/2 or more.
    """

    def __init__(
        self, under: tuple[Places, Places], working: tuple[int, int], *, ratio: float
    ) -> None:
        self._axes = tuple(
            AxisWeights.of_axis(places, length, ratio=ratio)
            for places, length in zip(under, working, strict=True)
        )

    def draw(self, index: tuple[slice, slice], ids: Ids, *, corner: tuple[int, int]) -> Ids:
        """The (n, m) uint32 ids of a part of the drawn map.

        Parameters
        ----------
        index : (slice, slice)
            The part.
        ids : (h, w) uint32 array
            The working map from `corner` (y, x) on, `REACH_PX` beyond the part on all sides as far
            as there is a map.
        """
        rows, columns = (
            axis.part(part, first)
            for axis, part, first in zip(self._axes, index, corner, strict=True)
        )
        drawn = np.zeros((len(rows.under), len(columns.under)), np.uint32)
        if ids.any():
            _draw(
                ids, rows.under, rows.taken, rows.weights,
                columns.under, columns.taken, columns.weights, drawn,
            )  # fmt: skip
        return drawn


@compiled
def _draw(ids, y_under, y_taken, y_weights, x_under, x_taken, x_weights, drawn):  # type: ignore[no-untyped-def]
    """Fill `drawn` (n, m); the others are the parts of `AxisWeights` for its rows and columns."""
    for i in range(drawn.shape[0]):
        for j in range(drawn.shape[1]):
            y, x = y_under[i], x_under[j]
            if ids[y, x] == 0 or _is_in_block(ids, y, x):
                drawn[i, j] = _heaviest(
                    ids, y, x, y_taken[i], y_weights[i], x_taken[j], x_weights[j]
                )
            else:
                drawn[i, j] = ids[y, x]


@compiled_inner
def _is_in_block(ids, y, x):  # type: ignore[no-untyped-def]
    """Return whether a pixel lies in a block of 2 x 2 pixels of one id."""
    own = ids[y, x]
    for v in (y - 1, y + 1):
        for u in (x - 1, x + 1):
            inside = 0 <= v < ids.shape[0] and 0 <= u < ids.shape[1]
            if inside and ids[v, x] == own and ids[y, u] == own and ids[v, u] == own:
                return True
    return False


@compiled_inner
def _heaviest(ids, y, x, ys, y_weights, xs, x_weights):  # type: ignore[no-untyped-def]
    """The id with the greatest weight; of equal ones that of the pixel (y, x), or the first."""
    best, heaviest = ids[y, x], _weight(ids, ids[y, x], ys, y_weights, xs, x_weights)
    if 2 * heaviest >= ONE * ONE:
        return best
    for a in range(4):
        for b in range(4):
            other = ids[ys[a], xs[b]]
            if other != best:
                weight = _weight(ids, other, ys, y_weights, xs, x_weights)
                if weight > heaviest:
                    best, heaviest = other, weight
    return best


@compiled_inner
def _weight(ids, wanted, ys, y_weights, xs, x_weights):  # type: ignore[no-untyped-def]
    total = 0
    for a in range(4):
        for b in range(4):
            if ids[ys[a], xs[b]] == wanted:
                total += y_weights[a] * x_weights[b]
    return total
