"""Components that cross seams or exceed the budget: joined, then solved on their own boxes.

The fragments of all blocks that touch, across a seam or a corner of four
blocks, are one component. Within the budget it is solved on its own exact box,
which holds all of it, so that the result is the one of an uncut map. Past the
budget it is cut on a canonical grid, anchored at (0, 0), with cells as large as
the budget: forced, but still the same for every block size.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components as graph_components

from nucleipel.core.geometry import Box
from nucleipel.core.scratch import Arrays, Scratch
from nucleipel.instances.blocks import SIDES, BlockPlan, label_block, solve_window
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


def block_name(row: int, column: int) -> str:
    """Name of a block's results in the scratch."""
    return f"block-{row}-{column}"


def blocks_touched(box: Box, block_px: int) -> Iterator[tuple[int, int]]:
    """Rows and columns of the blocks that a box touches."""
    for row in range(box.y0 // block_px, (box.y1 - 1) // block_px + 1):
        for column in range(box.x0 // block_px, (box.x1 - 1) // block_px + 1):
            yield row, column


def join_fragments(scratch: Scratch, plan: BlockPlan) -> list[CrossingComponent]:
    """Join the fragments of all blocks into components, in order of their first blocks."""
    rows, columns = plan.grid
    fragments, places = [np.zeros((0, 6), np.int64)], [np.zeros((0, 3), np.int64)]
    pairs = [np.zeros((0, 2), np.int64)]
    above = np.zeros(plan.shape[1], np.int64)
    offset = 0
    for row in range(rows):
        top, bottom = np.zeros_like(above), np.zeros_like(above)
        left_edge = np.zeros(0, np.int64)
        for column in range(columns):
            block = scratch.get(block_name(row, column), "fragments", *SIDES)
            box = plan.box(row, column)
            fragments.append(block["fragments"])
            numbers = np.arange(1, len(block["fragments"]) + 1)
            places.append(
                np.stack([np.full_like(numbers, row), np.full_like(numbers, column), numbers], 1)
            )
            edges = {side: np.where(block[side] > 0, block[side] + offset, 0) for side in SIDES}
            if column > 0:
                pairs.append(_touching(left_edge, edges["left"]))
            left_edge = edges["right"]
            top[box.x0 : box.x1], bottom[box.x0 : box.x1] = edges["top"], edges["bottom"]
            offset += len(block["fragments"])
        pairs.append(_touching(above, top))  # the whole row of blocks, so corners are in it
        above = bottom
    return _join_touching(np.concatenate(fragments), np.concatenate(places), np.concatenate(pairs))


def _touching(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n, 2) pairs of fragments that are neighbors across a seam, from their places along it."""
    pairs = []
    for step in (-1, 0, 1):
        here = one[max(-step, 0) : len(one) - max(step, 0)]
        there = other[max(step, 0) : len(other) - max(-step, 0)]
        both = (here > 0) & (there > 0)
        pairs.append(np.stack([here[both], there[both]], axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def _join_touching(
    fragments: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    pairs: npt.NDArray[np.int64],
) -> list[CrossingComponent]:
    if len(fragments) == 0:
        return []
    graph = coo_array(
        (np.ones(len(pairs), bool), (pairs[:, 0] - 1, pairs[:, 1] - 1)), shape=(len(fragments),) * 2
    )
    component = graph_components(graph, directed=False)[1]
    order = np.argsort(component, kind="stable")
    starts = np.flatnonzero(np.diff(component[order])) + 1
    crossings = []
    for members in np.split(order, starts):
        low, high = fragments[members, :2].min(axis=0), fragments[members, 2:4].max(axis=0)
        y, x = fragments[members[0], 4:].tolist()
        crossings.append(
            CrossingComponent(
                Box(*low.tolist(), *high.tolist()), (y, x), places[members, :2], places[members, 2]
            )
        )
    return sorted(crossings, key=lambda crossing: tuple(crossing.blocks[0]))


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
