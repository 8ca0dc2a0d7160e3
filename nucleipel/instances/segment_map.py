"""From a class probability map of any size to nuclei: a pure function of the map, in integers.

Nuclei are found in each connected component of the foreground on its own
(`watershed.py`). So the map can be cut anywhere: components inside a
block are solved there, the others are joined across the seams and solved
on their own exact boxes. The instance map, the ids and the table are the same
for every block size, number of workers, order of work and point of restart.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.instances.blocks import BlockPlan
from nucleipel.instances.certificate import Certificate
from nucleipel.instances.instance_rule import InstanceRule, IntegerRule
from nucleipel.instances.nucleus_table import NucleusTable
from nucleipel.instances.segment_steps import MAX_COMPONENT_PX, Segmentation

BLOCK_PX = 1024


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
    nuclei = Segmentation(
        probabilities, rule, plan, workers=workers, scratch=scratch, source=source
    )
    nuclei.solve(nuclei.rows)
    nuclei.join()
    nuclei.solve_seams(nuclei.rows)
    nuclei.number()
    certificate = nuclei.certify(nuclei.write(_writer(out, block_px)))
    return Instances(out, nuclei.table(nuclei.rows), certificate)


def _require_map(probabilities: Any, block_px: int, max_component_px: int) -> tuple[int, int]:
    shape, dtype = probabilities.shape, probabilities.dtype
    if len(shape) != 3 or shape[0] not in (3, 4) or dtype != np.uint8:
        raise ValueError(f"{dtype} map of shape {shape}; expected (3 or 4, H, W) uint8")
    if not 1 <= block_px < 2**15 or not 1 <= max_component_px < 2**15:
        raise ValueError(
            f"block_px {block_px}, max_component_px {max_component_px}; expected both in 1..32767"
        )
    return int(shape[1]), int(shape[2])


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
