"""The instance map, composed of solved blocks, crossing nuclei and ids when it is read.

So no process has to write the map before another reads it, and a map of which
most is glass takes no more than its tissue.
"""

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.scratch import Scratch
from nucleipel.instances.block_rows import row_name
from nucleipel.instances.blocks import BlockPlan, block_name
from nucleipel.instances.compression import look_up, unpack
from nucleipel.instances.ids import NUMBERED, CrossingNuclei, ids_name
from nucleipel.instances.map_hash import digest

ROWS_HELD = 4


class ComposedMap:
    """A (H, W) uint32 map of ids 1..n that is numbered; read by blocks, in several threads."""

    dtype = np.dtype(np.uint32)

    def __init__(self, scratch: Scratch, plan: BlockPlan) -> None:
        self.shape, self.chunks = plan.shape, (plan.block_px, plan.block_px)
        self._scratch, self._plan = scratch, plan
        self._first = scratch.get(NUMBERED, "first")["first"]
        self._rows: OrderedDict[int, _Row] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nuclei(self) -> int:
        """Number of nuclei."""
        return int(self._first[-1])

    def first(self, row: int) -> int:
        """Number of nuclei that begin before a row of blocks."""
        return int(self._first[row])

    def holds(self, row: int, column: int) -> bool:
        """Return whether a block may hold a nucleus."""
        return self._row(row).holds(column)

    def __getitem__(self, index: tuple[slice, slice]) -> npt.NDArray[np.uint32]:
        """The (h, w) ids of one whole block, by its pixels."""
        row, column = (part.start // self._plan.block_px for part in index)
        return self.block(row, column)

    def block(self, row: int, column: int) -> npt.NDArray[np.uint32]:
        """The (h, w) ids of a block."""
        return self._row(row).block(column)

    def digest(self, row: int) -> int:
        """The part of a row of blocks in the `digest` of the map."""
        kept, total = self._row(row), 0
        for column in range(self._plan.grid[1]):
            if kept.holds(column):
                box = self._plan.box(row, column)
                total += digest(
                    kept.block(column), origin=(box.y0, box.x0), width=self._plan.shape[1]
                )
        return total % 2**64

    def _row(self, row: int) -> "_Row":
        with self._lock:
            if row not in self._rows:
                self._rows[row] = _Row(self._scratch, row, self._plan)
                if len(self._rows) > ROWS_HELD:
                    self._rows.popitem(last=False)
            self._rows.move_to_end(row)
            return self._rows[row]


class _Row:
    """Everything that the blocks of one row are composed from."""

    def __init__(self, scratch: Scratch, row: int, plan: BlockPlan) -> None:
        self._scratch, self._row, self._plan = scratch, row, plan
        counts = scratch.get(row_name(row), "counts")["counts"]
        ids = np.zeros(0, np.uint32)
        if counts.any():
            ids = scratch.get(ids_name(row), "ids")["ids"]
        self._ids = np.split(ids, np.cumsum(counts)[:-1])
        self._crossing = CrossingNuclei(scratch, row, plan)

    def holds(self, column: int) -> bool:
        return len(self._ids[column]) > 0 or self._crossing.reaches(column)

    def block(self, column: int) -> npt.NDArray[np.uint32]:
        box = self._plan.box(self._row, column)
        values = np.zeros(box.shape, np.uint32)
        if len(self._ids[column]):
            packed = self._scratch.get(block_name(self._row, column), "nuclei")["nuclei"]
            ids: Any = np.append(np.uint32(0), self._ids[column])
            values = look_up(unpack(packed, box.shape), ids)
        self._crossing.paint(values, box, column)
        return values
