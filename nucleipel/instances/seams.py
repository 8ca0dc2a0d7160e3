"""Components that cross seams or exceed the budget, solved on their own boxes.

The fragments of all blocks that touch, across a seam or a corner of four
blocks, are one component (`block_rows.py` joins them). Within the budget it is
solved on its own exact box, which holds all of it, so that the result is the
one of an uncut map. Past the budget it is cut on a canonical grid, anchored at
(0, 0), with cells as large as the budget: forced, but still the same for every
block size.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.scratch import Arrays
from nucleipel.instances.blocks import BlockPlan, label_block, solve_window
from nucleipel.instances.compression import pack
from nucleipel.instances.connected_components import connected_components
from nucleipel.instances.map_hash import foreground_and_digest
from nucleipel.instances.watershed import ROW, Components

ReadBox = Callable[[Box], npt.NDArray[np.uint8]]
"""(C, h, w) contiguous probabilities of a box."""


@dataclass(frozen=True, slots=True)
class CrossingComponent:
    """A component that no single block could solve; positions in pixels of the map.

    Parameters
    ----------
    box : Box
        Exact box of the whole component.
    pixel : (y, x)
        One of its pixels.
    blocks : (n, 2) int64
        Rows and columns of the blocks of its fragments.
    numbers : (n,) int64
        Numbers of its fragments in their blocks, from 1.
    """

    box: Box
    pixel: tuple[int, int]
    blocks: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]

    @property
    def extent_px(self) -> int:
        """The longer side of its box."""
        return max(self.box.shape)


def blocks_touched(box: Box, block_px: int) -> Iterator[tuple[int, int]]:
    """Rows and columns of the blocks that a box touches."""
    for row in range(box.y0 // block_px, (box.y1 - 1) // block_px + 1):
        for column in range(box.x0 // block_px, (box.x1 - 1) // block_px + 1):
            yield row, column


def groups_within(
    crossings: Iterable[CrossingComponent], limit_px: int
) -> Iterator[list[CrossingComponent]]:
    """Group components so that their boxes have at most so many pixels, unless one alone has.

    All of a group begin in the same block.
    """
    group: list[CrossingComponent] = []
    total = 0
    for crossing in crossings:
        size = math.prod(crossing.box.shape)
        elsewhere = group and tuple(group[0].blocks[0]) != tuple(crossing.blocks[0])
        if group and (elsewhere or total + size > limit_px):
            yield group
            group, total = [], 0
        group.append(crossing)
        total += size
    if group:
        yield group


def reader_around(group: list[CrossingComponent], read: ReadBox, plan: BlockPlan) -> ReadBox:
    """Read the box that holds a group of small components once, not once for each component."""
    if any(crossing.extent_px > plan.max_component_px for crossing in group):
        return read  # forced ones are read by cells and blocks, beyond their boxes
    boxes = [crossing.box for crossing in group]
    around = Box(
        min(box.y0 for box in boxes),
        min(box.x0 for box in boxes),
        max(box.y1 for box in boxes),
        max(box.x1 for box in boxes),
    )
    if math.prod(around.shape) > 4 * plan.block_px**2:
        return read
    probabilities = read(around)

    def read_part(box: Box) -> npt.NDArray[np.uint8]:
        inside = box.shift(-around.y0, -around.x0)
        return np.ascontiguousarray(probabilities[(slice(None), *inside.slices)])

    return read_part


def solve_crossings(crossings: list[CrossingComponent], read: ReadBox, plan: BlockPlan) -> Arrays:
    """Solve some crossing components, all their pieces one after another.

    Returns
    -------
    dict of arrays
        `boxes` (p, 4) of the pieces in the map; `nuclei`, their packed maps
        flattened and joined, numbered through 1..m; `rows` (m, 10).
    """
    boxes, maps, rows, count = [], [], [], 0
    for crossing in crossings:
        whole = crossing.extent_px <= plan.max_component_px
        solve = _solve_whole if whole else _solve_in_cells
        for box, nuclei, piece_rows in solve(crossing, read, plan):
            boxes.append((box.y0, box.x0, box.y1, box.x1))
            maps.append(np.where(nuclei > 0, nuclei + count, 0).astype(np.int32).ravel())
            rows.append(piece_rows)
            count += len(piece_rows)
    return {
        "boxes": np.array(boxes, np.int64).reshape(-1, 4),
        "nuclei": pack(np.concatenate([np.zeros(0, np.int32), *maps])[None]),
        "rows": np.concatenate([np.zeros((0, len(ROW)), np.int64), *rows]),
    }


Piece = tuple[Box, npt.NDArray[np.int32], npt.NDArray[np.int64]]
"""Box in the map, its nuclei (h, w), their rows (m, 10)."""


def _solve_whole(crossing: CrossingComponent, read: ReadBox, plan: BlockPlan) -> Iterator[Piece]:
    box = crossing.box
    probabilities = read(box)
    labels, boxes, holes = connected_components(_foreground(probabilities, plan))
    label = labels[crossing.pixel[0] - box.y0, crossing.pixel[1] - box.x0]
    chosen = np.array([label], np.int32)
    component = Components(chosen, boxes[chosen - 1], holes[chosen - 1])
    yield box, *solve_window(labels, component, probabilities, (box.y0, box.x0), plan)


def _solve_in_cells(crossing: CrossingComponent, read: ReadBox, plan: BlockPlan) -> Iterator[Piece]:
    """Cut a component on the canonical grid and solve the piece in each cell."""
    side = plan.max_component_px
    numbers: dict[tuple[int, int], list[int]] = {}
    for (row, column), number in zip(crossing.blocks.tolist(), crossing.numbers, strict=True):
        numbers.setdefault((row, column), []).append(number)
    for y in range(crossing.box.y0 // side * side, crossing.box.y1, side):
        for x in range(crossing.box.x0 // side * side, crossing.box.x1, side):
            cell = Box(y, x, y + side, x + side).clip(plan.shape)
            own = _pixels_in(numbers, cell, read, plan)
            if not own.any():
                continue
            probabilities = read(cell)
            labels, boxes, holes = connected_components(own)
            pieces = Components(np.arange(1, len(boxes) + 1, dtype=np.int32), boxes, holes)
            foreign = (_foreground(probabilities, plan) > 0) & (own == 0)
            labels[foreign] = len(boxes) + 1
            yield cell, *solve_window(labels, pieces, probabilities, (cell.y0, cell.x0), plan)


def _pixels_in(
    numbers: dict[tuple[int, int], list[int]], cell: Box, read: ReadBox, plan: BlockPlan
) -> npt.NDArray[np.uint8]:
    """Label the blocks of a cell once more: (h, w) uint8, 1 where a pixel is the component's.

    `numbers` are those of its fragments, by the rows and columns of their blocks.
    """
    own = np.zeros(cell.shape, np.uint8)
    for place in blocks_touched(cell, plan.block_px):
        if place not in numbers:
            continue
        block = plan.box(*place)
        common = Box(
            max(block.y0, cell.y0),
            max(block.x0, cell.x0),
            min(block.y1, cell.y1),
            min(block.x1, cell.x1),
        )
        labeled = label_block(read(block), block, plan)
        mine = np.flatnonzero(~labeled.inside)[np.array(numbers[place]) - 1] + 1
        member = np.isin(labeled.labels, mine)
        own[common.shift(-cell.y0, -cell.x0).slices] = member[
            common.shift(-block.y0, -block.x0).slices
        ]
    return own


def _foreground(probabilities: npt.NDArray[np.uint8], plan: BlockPlan) -> npt.NDArray[np.uint8]:
    foreground: npt.NDArray[np.uint8] = foreground_and_digest(
        probabilities, plan.rule.foreground_percent, 0, 0, probabilities.shape[2]
    )[0]
    return foreground
