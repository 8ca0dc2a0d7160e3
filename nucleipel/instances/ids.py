"""Ids 1..n in raster order of first pixels, whatever the blocks; and the final map.

Rows of blocks are finished from top to bottom. A nucleus whose first pixel lies
in an earlier row of blocks comes before all of this row, so that one row at a
time can be sorted, numbered and written. The rows and ids of nuclei in components
that cross seams stay in memory (84 bytes a nucleus).
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.scratch import Rows, Scratch
from nucleipel.instances.blocks import BlockPlan
from nucleipel.instances.compression import look_up, unpack
from nucleipel.instances.map_hash import digest
from nucleipel.instances.seams import block_name, blocks_touched
from nucleipel.instances.watershed import FIRST_X, FIRST_Y, ROW

ParallelMap = Callable[[Callable[[Any], Any], list[Any]], Iterator[Any]]
"""Calls a function with every item, in several threads; yields the results in order."""


class CrossingNuclei:
    """The nuclei of all components that cross a seam, by the blocks that their boxes touch."""

    def __init__(self, scratch: Scratch, names: list[str], plan: BlockPlan) -> None:
        self._scratch = scratch
        self._groups: dict[tuple[int, int], list[int]] = {}
        self._names = names
        self._offsets = [0]
        rows = [np.zeros((0, len(ROW)), np.int64)]
        for index, name in enumerate(names):
            group = scratch.get(name, "boxes", "rows")
            rows.append(group["rows"])
            self._offsets.append(self._offsets[-1] + len(group["rows"]))
            boxes = [Box(*bounds) for bounds in group["boxes"].tolist()]
            for place in {place for box in boxes for place in blocks_touched(box, plan.block_px)}:
                self._groups.setdefault(place, []).append(index)
        self.rows = np.concatenate(rows)
        self.ids = np.zeros(len(self.rows), np.uint32)

    def paint(self, target: npt.NDArray[np.uint32], box: Box, place: tuple[int, int]) -> None:
        """Write the ids of nuclei into the (h, w) map of the block at `place`."""
        for index in self._groups.get(place, []):
            group = self._scratch.get(self._names[index], "boxes", "nuclei")
            ids = np.append(np.uint32(0), self.ids[self._offsets[index] : self._offsets[index + 1]])
            sizes = (group["boxes"][:, 2] - group["boxes"][:, 0]) * (
                group["boxes"][:, 3] - group["boxes"][:, 1]
            )
            ends = np.cumsum(sizes)
            pixels = unpack(group["nuclei"], (1, int(sizes.sum())))[0]
            for bounds, size, end in zip(group["boxes"].tolist(), sizes, ends, strict=True):
                piece = Box(*bounds)
                y0, x0 = max(piece.y0, box.y0), max(piece.x0, box.x0)
                y1, x1 = min(piece.y1, box.y1), min(piece.x1, box.x1)
                if y0 >= y1 or x0 >= x1:
                    continue
                common = Box(y0, x0, y1, x1)
                nuclei = pixels[end - size : end].reshape(piece.shape)
                nuclei = nuclei[common.shift(-piece.y0, -piece.x0).slices]
                part = target[common.shift(-box.y0, -box.x0).slices]
                part[nuclei > 0] = ids[nuclei[nuclei > 0]]


def number_and_write(
    scratch: Scratch,
    crossing: CrossingNuclei,
    write: Callable[[Box, npt.NDArray[np.uint32]], None],
    table: Rows,
    plan: BlockPlan,
    parallel_map: ParallelMap,
) -> int:
    """Number every nucleus, write every block of the map; returns the map's digest.

    `write` is called once a block, from several threads; `table` gets one row
    a nucleus, as in `watershed.ROW`, in order of ids.
    """
    total = 0
    for row in range(plan.grid[0]):
        ids = _number_row(scratch, crossing, table, row, plan)

        def finish(column: int, row: int = row, ids: Any = ids) -> int:
            box = plan.box(row, column)
            nuclei = unpack(scratch.get(block_name(row, column), "nuclei")["nuclei"], box.shape)
            values = look_up(nuclei, ids[column])
            crossing.paint(values, box, (row, column))
            write(box, values)
            return digest(values, origin=(box.y0, box.x0), width=plan.shape[1])

        total += sum(parallel_map(finish, list(range(plan.grid[1]))))
    return total % 2**64


def _number_row(
    scratch: Scratch, crossing: CrossingNuclei, table: Rows, row: int, plan: BlockPlan
) -> list[npt.NDArray[np.uint32]]:
    """Number the nuclei that begin in a row of blocks; returns each block's ids, 0 first."""
    y0, y1 = row * plan.block_px, (row + 1) * plan.block_px
    begins = np.flatnonzero((crossing.rows[:, FIRST_Y] >= y0) & (crossing.rows[:, FIRST_Y] < y1))
    parts = [scratch.get(block_name(row, column), "rows")["rows"] for column in range(plan.grid[1])]
    rows = np.concatenate([*parts, crossing.rows[begins]])
    order = np.lexsort((rows[:, FIRST_X], rows[:, FIRST_Y]))
    ids = np.empty(len(rows), np.uint32)
    ids[order] = np.arange(table.length + 1, table.length + 1 + len(rows))
    table.append(rows[order])
    *inside, of_crossing = np.split(ids, np.cumsum([len(part) for part in parts]))
    crossing.ids[begins] = of_crossing
    return [np.append(np.uint32(0), block) for block in inside]
