"""The segmentation of one map in steps, each of which needs all of the step before."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.progress import track
from nucleipel.core.scratch import Scratch
from nucleipel.core.stop_signals import step
from nucleipel.core.threads import in_order, threads
from nucleipel.instances.block_rows import (
    JOINED,
    join_rows,
    read_crossings,
    row_name,
    summarize_row,
)
from nucleipel.instances.blocks import BlockPlan, block_name, solve_block
from nucleipel.instances.certificate import Certificate
from nucleipel.instances.composed_map import ComposedMap
from nucleipel.instances.ids import (
    NUMBERED,
    gather_groups,
    group_name,
    ids_name,
    number_rows,
    seams_name,
)
from nucleipel.instances.instance_rule import InstanceRule
from nucleipel.instances.map_hash import digest
from nucleipel.instances.nucleus_table import NucleusTable
from nucleipel.instances.seams import (
    CrossingComponent,
    groups_within,
    reader_around,
    solve_crossings,
)
from nucleipel.instances.watershed import ROW

MAX_COMPONENT_PX = 2048

ParallelMap = Callable[[Callable[[Any], Any], list[Any]], Iterator[Any]]
"""Calls a function with every item, in several threads; yields the results in order."""


class Segmentation:
    """The segmentation of one map, row of blocks by row of blocks.

    `solve` rows of blocks; `join` what crosses seams, and `solve_seams` of
    rows; `number`; then `composed`, `table` and `certify` read the result. The
    rows of a step may be done by different processes that share a scratch
    folder; what is done is not done again.

    Parameters
    ----------
    probabilities : (3, H, W) or (4, H, W) uint8 array
        As of `segment_instances`. Blocks for which its `is_background`, if it
        has one, is true of their box are not read.
    rule : InstanceRule
    plan : BlockPlan
    workers, scratch, source
        As of `segment_instances`.
    """

    def __init__(
        self,
        probabilities: Any,
        rule: InstanceRule,
        plan: BlockPlan,
        *,
        workers: int = 1,
        scratch: Path | None = None,
        source: str = "",
    ) -> None:
        self.rows = range(plan.grid[0])
        self._probabilities, self._rule, self._plan = probabilities, rule, plan
        cut = [*plan.shape, plan.block_px, plan.max_component_px]
        self.scratch = Scratch(scratch, {"source": source, "rule": asdict(rule), "cut": cut})
        self._workers = workers

    def is_solved(self, row: int) -> bool:
        """Return whether `solve` has done a row."""
        return row_name(row) in self.scratch

    def solve(self, rows: Iterable[int]) -> None:
        """Solve the components inside the blocks of some rows."""
        rows = [row for row in rows if not self.is_solved(row)]
        places = [(row, column) for row in rows for column in self._columns(row)]
        left = [place for place in places if block_name(*place) not in self.scratch]

        def work(place: tuple[int, int]) -> None:
            box = self._plan.box(*place)
            self.scratch.put(block_name(*place), solve_block(self._read(box), box, self._plan))

        self._do(work, left, "solving blocks", total=len(places))
        for row in rows:
            kept = summarize_row(self.scratch, row, self._columns(row), self._plan)
            self.scratch.put(row_name(row), kept)

    @property
    def is_joined(self) -> bool:
        """Return whether `join` is done."""
        return JOINED in self.scratch

    def join(self) -> None:
        """Join the fragments of all rows into components that cross seams."""
        if not self.is_joined:
            join_rows(self.scratch, self._plan)

    def are_seams_solved(self, row: int) -> bool:
        """Return whether `solve_seams` has done a row."""
        return seams_name(row) in self.scratch or row not in self._seam_rows

    def solve_seams(self, rows: Iterable[int]) -> None:
        """Solve the components that cross seams and begin in some rows."""
        rows = [row for row in rows if not self.are_seams_solved(row)]
        groups: dict[str, list[CrossingComponent]] = {}
        counts: dict[int, int] = {}
        for row in rows:
            crossings = read_crossings(self.scratch, row)
            beginning = list(groups_within(crossings, 4 * self._plan.block_px**2))
            counts[row] = len(beginning)
            groups |= {group_name(row, number): group for number, group in enumerate(beginning)}
        left = [name for name in groups if name not in self.scratch]

        def work(name: str) -> None:
            read = reader_around(groups[name], self._read, self._plan)
            self.scratch.put(name, solve_crossings(groups[name], read, self._plan))

        self._do(work, left, "solving seams", total=len(groups))
        for row in rows:
            self.scratch.put(seams_name(row), gather_groups(self.scratch, row, counts[row]))

    @property
    def is_numbered(self) -> bool:
        """Return whether `number` is done."""
        return NUMBERED in self.scratch

    def number(self) -> None:
        """Number all nuclei."""
        if not self.is_numbered:
            number_rows(self.scratch, self._plan)

    def composed(self) -> ComposedMap:
        """The map of the numbered nuclei."""
        return ComposedMap(self.scratch, self._plan)

    def write(self, write: Callable[[Box, npt.NDArray[np.uint32]], None]) -> int:
        """Have every block of the map written, from several threads; returns the map's digest."""
        composed = self.composed()

        def work(place: tuple[int, int]) -> int:
            box, values = self._plan.box(*place), composed.block(*place)
            write(box, values)
            return digest(values, origin=(box.y0, box.x0), width=self._plan.shape[1])

        places = [(row, column) for row in self.rows for column in range(self._plan.grid[1])]
        with _parallel(self._workers) as parallel_map:
            return sum(parallel_map(work, places)) % 2**64

    def table(self, rows: Iterable[int]) -> NucleusTable:
        """The nuclei that begin in some rows, which follow each other."""
        first = self.scratch.get(NUMBERED, "first")["first"]
        parts = [np.zeros((0, len(ROW)), np.int64)]
        for row in rows:
            if first[row] < first[row + 1]:
                parts.append(self.scratch.get(ids_name(row), "table")["table"])
        return NucleusTable(np.concatenate(parts))

    def certify(self, instances_digest: int) -> Certificate:
        """Return the certificate of the result, with the digest of its map."""
        joined = self.scratch.get(JOINED, "facts", "forced", "digest")
        components, crossing, largest = joined["facts"].tolist()
        return Certificate(
            shape=self._plan.shape,
            components=components,
            nuclei=self.composed().nuclei,
            largest_component_px=largest,
            max_component_px=self._plan.max_component_px,
            forced=[(y0, x0, y1, x1) for y0, x0, y1, x1 in joined["forced"].tolist()],
            probabilities_digest=f"{int(joined['digest'][0]):016x}",
            instances_digest=f"{instances_digest:016x}",
            rule=asdict(self._rule),
            cut={"block_px": self._plan.block_px, "seam_components": crossing},
        )

    def _do(self, work: Callable[[Any], None], left: list[Any], what: str, *, total: int) -> None:
        """Do what is left of some work."""
        with _parallel(self._workers) as parallel_map:
            done = parallel_map(work, left)
            for _ in track(done, what, total=total, done=total - len(left)):
                pass

    def _read(self, box: Box) -> npt.NDArray[np.uint8]:
        return np.ascontiguousarray(self._probabilities[(slice(None), *box.slices)])

    def _columns(self, row: int) -> list[int]:
        """The columns of the blocks in a row that are not known to be background."""
        columns = range(self._plan.grid[1])
        known = getattr(self._probabilities, "is_background", None)
        if known is None:
            return list(columns)
        return [column for column in columns if not known(self._plan.box(row, column))]

    @cached_property
    def _seam_rows(self) -> frozenset[int]:
        return frozenset(self.scratch.get(JOINED, "rows")["rows"].tolist())


@contextmanager
def _parallel(workers: int) -> Iterator[ParallelMap]:
    """Yield a parallel `map`; at most two results for each worker wait in memory."""
    if workers <= 1:
        yield _one_by_one
        return
    with threads(workers) as pool:
        yield lambda function, items: in_order(pool, function, items, ahead=2 * workers)


def _one_by_one(function: Callable[[Any], Any], items: list[Any]) -> Iterator[Any]:
    for item in items:
        with step():
            result = function(item)
        yield result
