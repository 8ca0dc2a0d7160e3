"""From a class probability map of any size to nuclei: a pure function of the map, in integers.

Nuclei are found in each connected component of the foreground on its own
(`watershed.py`). So the map can be cut anywhere: components inside a
block are solved there, the others are joined across the seams and solved
on their own exact boxes. The instance map, the ids and the table are the same
for every block size, number of workers, order of work and point of restart.
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.progress import track
from nucleipel.core.scratch import Rows, Scratch
from nucleipel.core.stopping import step
from nucleipel.core.threads import in_order, threads
from nucleipel.instances.blocks import BlockPlan, solve_block
from nucleipel.instances.certificate import Certificate
from nucleipel.instances.ids import CrossingNuclei, ParallelMap, number_and_write
from nucleipel.instances.nucleus_table import NucleusTable
from nucleipel.instances.rule import InstanceRule, IntegerRule
from nucleipel.instances.seams import CrossingComponent, block_name, join_fragments, solve_crossings
from nucleipel.instances.watershed import ROW

BLOCK_PX = 1024
MAX_COMPONENT_PX = 2048


@dataclass(frozen=True)
class Instances:
    """`map`: (H, W) uint32, a NumPy array or `out`; `table`: one row a nucleus."""

    map: Any
    table: NucleusTable
    certificate: Certificate


def segment_instances(
    probabilities: Any,
    *,
    rule: InstanceRule | None = None,
    block_px: int = BLOCK_PX,
    workers: int = 1,
    max_component_px: int = MAX_COMPONENT_PX,
    out: Any = None,
    scratch: Path | None = None,
    source: str = "",
) -> Instances:
    """Find the nuclei of a probability map of any size.

    Parameters
    ----------
    probabilities : (3, H, W) or (4, H, W) uint8 array
        Background, interior, boundary and, in a fourth channel, the distance to
        the nucleus' own edge as a fraction of its greatest (`training_targets.py`);
        NumPy, or a zarr array that is read block by block.
    rule : InstanceRule, optional
        The numbers that shape nuclei; the defaults if None.
    block_px : int
        Side of the blocks. Sets the memory, never the result: about 20 bytes a
        pixel of a block and worker.
    workers : int
        Threads. The time is spent in compiled code that runs in parallel.
    max_component_px : int
        Longest side of a component's box. A longer one is cut on a grid of
        that size and listed in the certificate.
    out : (H, W) uint32 array, optional
        Where the instance map goes, NumPy or zarr; a new NumPy array if None.
    scratch : Path, optional
        A folder for intermediate results. What a killed run of the same map
        left there is used. Without it they stay in memory.
    source : str
        What identifies the map to a later run that finds the scratch.

    Returns
    -------
    Instances
        `.map`, `.table` and `.certificate`.

    Raises
    ------
    ValueError
        If the map, `out` or `block_px` is of another shape, dtype or range.

    Examples
    --------
    >>> interior = np.zeros((9, 30), np.uint8)
    >>> interior[2:7, 2:9] = interior[2:7, 15:28] = 255
    >>> nuclei = segment_instances(np.stack([255 - interior, interior, 0 * interior]))
    >>> nuclei.table.area_px.tolist(), nuclei.certificate.forced
    ([35, 65], [])
    """
    rule = rule or InstanceRule()
    shape = _require_map(probabilities, block_px, max_component_px)
    if out is None:
        out = np.zeros(shape, np.uint32)
    elif tuple(out.shape) != shape or out.dtype != np.uint32:
        raise ValueError(f"out: {out.dtype} of shape {out.shape}; expected uint32 {shape}")
    plan = BlockPlan(shape, IntegerRule.of(rule), block_px, max_component_px)
    identity = {"source": source, "rule": asdict(rule), "cut": [*shape, block_px, max_component_px]}
    store = Scratch(scratch, identity)

    def read(box: Box) -> npt.NDArray[np.uint8]:
        return np.ascontiguousarray(probabilities[(slice(None), *box.slices)])

    with _parallel(workers) as parallel_map:
        _solve_blocks(store, read, plan, parallel_map)
        crossings = join_fragments(store, plan)
        names = _solve_seams(store, crossings, read, plan, parallel_map)
        table = Rows(store, "table", len(ROW))
        digest = number_and_write(
            store,
            CrossingNuclei(store, names, plan),
            _writer(out, block_px),
            table,
            plan,
            parallel_map,
        )
    rows = NucleusTable(table.read())
    return Instances(out, rows, _certify(store, crossings, plan, rule, len(rows), digest))


def _require_map(probabilities: Any, block_px: int, max_component_px: int) -> tuple[int, int]:
    shape, dtype = probabilities.shape, probabilities.dtype
    if len(shape) != 3 or shape[0] not in (3, 4) or dtype != np.uint8:
        raise ValueError(f"{dtype} map of shape {shape}; expected (3 or 4, H, W) uint8")
    if not 1 <= block_px < 2**15 or not 1 <= max_component_px < 2**15:
        raise ValueError(
            f"block_px {block_px}, max_component_px {max_component_px}; expected both in 1..32767"
        )
    return int(shape[1]), int(shape[2])


def _solve_blocks(
    store: Scratch, read: Callable[[Box], Any], plan: BlockPlan, parallel_map: ParallelMap
) -> None:
    def work(place: tuple[int, int]) -> None:
        box = plan.box(*place)
        store.put(block_name(*place), solve_block(read(box), box, plan))

    places = [(row, column) for row in range(plan.grid[0]) for column in range(plan.grid[1])]
    left = [place for place in places if block_name(*place) not in store]
    for _ in track(
        parallel_map(work, left), "solving blocks", total=len(places), done=len(places) - len(left)
    ):
        pass


def _solve_seams(
    store: Scratch,
    crossings: list[CrossingComponent],
    read: Callable[[Box], Any],
    plan: BlockPlan,
    parallel_map: ParallelMap,
) -> list[str]:
    """Solve components that cross seams, group by group; returns the groups' names in `store`."""
    groups: dict[str, list[CrossingComponent]] = {}
    for place, starting_here in groupby(crossings, key=lambda crossing: tuple(crossing.blocks[0])):
        for index, group in enumerate(_groups_within(starting_here, 4 * plan.block_px**2)):
            groups["seams-{}-{}-{}".format(*place, index)] = group

    def work(name: str) -> None:
        store.put(
            name, solve_crossings(groups[name], _reader_around(groups[name], read, plan), plan)
        )

    left = [name for name in groups if name not in store]
    for _ in track(
        parallel_map(work, left), "solving seams", total=len(groups), done=len(groups) - len(left)
    ):
        pass
    return list(groups)


def _groups_within(
    crossings: Iterable[CrossingComponent], limit_px: int
) -> Iterator[list[CrossingComponent]]:
    """Group components so that their boxes have at most so many pixels, unless one alone has."""
    group: list[CrossingComponent] = []
    total = 0
    for crossing in crossings:
        size = math.prod(crossing.box.shape)
        if group and total + size > limit_px:
            yield group
            group, total = [], 0
        group.append(crossing)
        total += size
    if group:
        yield group


def _reader_around(
    group: list[CrossingComponent], read: Callable[[Box], Any], plan: BlockPlan
) -> Callable[[Box], Any]:
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


def _writer(out: Any, block_px: int) -> Callable[[Box, npt.NDArray[np.uint32]], None]:
    """Build the function that writes a block; with a lock where blocks share a chunk of `out`."""
    unit = getattr(out, "shards", None) or getattr(out, "chunks", None) or (1, 1)
    lock = threading.Lock()

    def write(box: Box, values: npt.NDArray[np.uint32]) -> None:
        if block_px % unit[0] == 0 and block_px % unit[1] == 0:
            out[box.slices] = values
        else:
            with lock:
                out[box.slices] = values

    return write


def _certify(
    store: Scratch,
    crossings: list[CrossingComponent],
    plan: BlockPlan,
    rule: InstanceRule,
    nuclei: int,
    digest: int,
) -> Certificate:
    inside, largest, probabilities = 0, 0, 0
    for row in range(plan.grid[0]):
        for column in range(plan.grid[1]):
            block = store.get(block_name(row, column), "facts", "digest")
            inside += int(block["facts"][0])
            largest = max(largest, int(block["facts"][1]))
            probabilities += int(block["digest"][0])
    forced = [crossing.box for crossing in crossings if crossing.extent_px > plan.max_component_px]
    return Certificate(
        shape=plan.shape,
        components=inside + len(crossings),
        nuclei=nuclei,
        largest_component_px=max([largest, *(crossing.extent_px for crossing in crossings)]),
        max_component_px=plan.max_component_px,
        forced=sorted((box.y0, box.x0, box.y1, box.x1) for box in forced),
        probabilities_digest=f"{probabilities % 2**64:016x}",
        instances_digest=f"{digest:016x}",
        rule=asdict(rule),
        cut={"block_px": plan.block_px, "seam_components": len(crossings)},
    )


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
