"""Squares of an image in which a network is least sure, from its probability map alone.

Everything is summed in integers over cells of one grid anchored at (0, 0), so the
result does not depend on how the map was cut.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box

CELLS = 4
"""Cells along a square; squares begin where a cell does."""
BLOCK_PX = 2048


def doubt(probabilities: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Doubt (H, W) of a (C, H, W) map, whose first channel is background: 255 at one half.

    0 where the foreground is certain, or certainly absent.
    """
    foreground = 255 - probabilities[0].astype(np.int16)
    return (255 - np.abs(2 * foreground - 255)).astype(np.uint8)


def doubt_of_cells(
    probabilities: Any, cell_px: int, is_tissue: Callable[[Box], bool] = lambda _: True
) -> npt.NDArray[np.int64]:
    """Summed doubt (rows, columns) of each whole cell of a (C, H, W) map, read by blocks.

    Cells without tissue have none.
    """
    height, width = probabilities.shape[1:]
    sums = np.zeros((height // cell_px, width // cell_px), np.int64)
    at_a_time = max(1, BLOCK_PX // cell_px)
    for top in range(0, sums.shape[0], at_a_time):
        for left in range(0, sums.shape[1], at_a_time):
            part = Box(top, left, top + at_a_time, left + at_a_time).clip(sums.shape)
            box = Box(*(cell_px * edge for edge in (part.y0, part.x0, part.y1, part.x1)))
            if is_tissue(box):
                of_pixels = doubt(probabilities[(slice(None), *box.slices)])
                cells = of_pixels.reshape(part.shape[0], cell_px, part.shape[1], cell_px)
                sums[part.slices] = cells.sum(axis=(1, 3), dtype=np.int64)
    for row, column in np.argwhere(sums).tolist():
        cell = Box(row, column, row + 1, column + 1)
        box = Box(*(cell_px * edge for edge in (cell.y0, cell.x0, cell.y1, cell.x1)))
        if not is_tissue(box):
            sums[row, column] = 0
    return sums


def most_doubtful(
    sums: npt.NDArray[np.int64], count: int, may_be: Callable[[Box], bool] = lambda _: True
) -> list[tuple[Box, int]]:
    """Squares of `CELLS` x `CELLS` cells with the greatest sums, in cells, that share no cell.

    At most `count` of those that `may_be` chosen, the greatest first; of equal sums the
    upper, then the left one. Where there are fewer cells along an axis, all are taken.
    """
    side = [min(CELLS, length) for length in sums.shape]
    if 0 in side:
        return []
    padded = np.pad(sums.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    rows, columns = side
    squares = (
        padded[rows:, columns:] - padded[:-rows, columns:]
        - padded[rows:, :-columns] + padded[:-rows, :-columns]
    )  # fmt: skip
    order = np.argsort(-squares, axis=None, kind="stable")
    taken = np.zeros(squares.shape, bool)
    chosen: list[tuple[Box, int]] = []
    for place in order:
        y, x = (int(edge) for edge in np.unravel_index(place, squares.shape))
        if len(chosen) == count or squares[y, x] == 0:
            break
        square = Box(y, x, y + rows, x + columns)
        if not taken[y, x] and may_be(square):
            chosen.append((square, int(squares[y, x])))
            taken[max(y - rows + 1, 0) : y + rows, max(x - columns + 1, 0) : x + columns] = True
    return chosen
