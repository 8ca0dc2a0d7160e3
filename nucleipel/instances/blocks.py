"""One block of a map: components that lie whole inside it are solved, the others recorded.

A component that touches a seam (a block edge that is no image edge), or that is
over the budget, is left for later (`seams.py`). Here it is a *fragment*: only its
box, one of its pixels, and its places along the seams are kept.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.scratch import Arrays
from nucleipel.instances.compression import pack
from nucleipel.instances.connected_components import connected_components
from nucleipel.instances.instance_rule import IntegerRule
from nucleipel.instances.map_hash import foreground_and_digest
from nucleipel.instances.watershed import Components, Window, solve_components

SIDES = ("top", "left", "bottom", "right")


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """The plan by which one map is cut into blocks and solved: what all its blocks share.

    `shape` (height, width) of the map, `block_px` the side of its blocks,
    `max_component_px` the longest side of a component's box that is solved whole.
    """

    shape: tuple[int, int]
    rule: IntegerRule
    block_px: int
    max_component_px: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return -(-self.shape[0] // self.block_px), -(-self.shape[1] // self.block_px)

    def box(self, row: int, column: int) -> Box:
        """The block at a place of the grid, in pixels of the map."""
        y, x = row * self.block_px, column * self.block_px
        return Box(y, x, y + self.block_px, x + self.block_px).clip(self.shape)


@dataclass(frozen=True, slots=True)
class LabeledBlock:
    """The connected components of one block.

    Parameters
    ----------
    labels : (h, w) int32
        1..n, 0 for background.
    boxes : (n, 4) int32
        Half-open (y0, x0, y1, x1) in the block, of labels 1..n.
    holes : (n,) int32
        Number of holes in each.
    inside : (n,) bool
        Whether a label is solved in the block.
    digest : int
        Hash of the block's probabilities.
    """

    labels: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.int32]
    holes: npt.NDArray[np.int32]
    inside: npt.NDArray[np.bool_]
    digest: int

    def components(self, labels: npt.NDArray[np.integer]) -> Components:
        """Some of the components, by their labels (m,), as the solver takes them."""
        at = labels - 1
        return Components(labels.astype(np.int32), self.boxes[at], self.holes[at])


def block_name(row: int, column: int) -> str:
    """Name of a block's results in the scratch."""
    return f"block-{row}-{column}"


def label_block(probabilities: npt.NDArray[np.uint8], box: Box, plan: BlockPlan) -> LabeledBlock:
    """Connected components (8-connected) of a block's (C, h, w) probabilities."""
    foreground, digest = foreground_and_digest(
        probabilities, plan.rule.foreground_percent, box.y0, box.x0, plan.shape[1]
    )
    labels, boxes, holes = connected_components(foreground)
    extents = boxes[:, 2:] - boxes[:, :2]
    inside = extents.max(axis=1, initial=0) <= plan.max_component_px
    inside &= (boxes[:, 0] > 0) | (box.y0 == 0)
    inside &= (boxes[:, 1] > 0) | (box.x0 == 0)
    inside &= (boxes[:, 2] < labels.shape[0]) | (box.y1 == plan.shape[0])
    inside &= (boxes[:, 3] < labels.shape[1]) | (box.x1 == plan.shape[1])
    return LabeledBlock(labels, boxes, holes, inside, int(digest))


def solve_window(
    labels: npt.NDArray[np.int32],
    components: Components,
    probabilities: npt.NDArray[np.uint8],
    origin: tuple[int, int],
    plan: BlockPlan,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Solve some components of a window that lies at `origin` (y, x) of the map.

    `labels` (h, w) and `probabilities` (C, h, w) are those of the window. Returns
    the nuclei (h, w) and their rows (m, 10), as `solve_components` does.
    """
    window = Window(
        labels, probabilities, np.array(origin, np.int64), np.array(plan.shape, np.int64)
    )
    nuclei, rows = solve_components(window, components, plan.rule)
    return nuclei, rows


def solve_block(probabilities: npt.NDArray[np.uint8], box: Box, plan: BlockPlan) -> Arrays:
    """Solve a block; what later steps need of it: nuclei, fragments, edges.

    `probabilities` (C, h, w) are those of `box` in the map.

    Returns
    -------
    dict of arrays
        `nuclei`, packed (h, w) map, 1..m; `rows` (m, 10) as in
        `watershed.ROW`; `fragments` (f, 6): box and one pixel, in the map;
        `top`, `left`, `bottom`, `right`: fragments 1..f along the edges, 0
        elsewhere; `facts`: number of inside components, their largest extent;
        `digest` of the probabilities.
    """
    block = label_block(probabilities, box, plan)
    inside = np.flatnonzero(block.inside)
    outside = np.flatnonzero(~block.inside)
    nuclei, rows = solve_window(
        block.labels, block.components(inside + 1), probabilities, (box.y0, box.x0), plan
    )
    number = np.zeros(len(block.inside) + 1, np.int32)
    number[outside + 1] = np.arange(1, len(outside) + 1)
    edges = (block.labels[0], block.labels[:, 0], block.labels[-1], block.labels[:, -1])
    extents = block.boxes[inside, 2:] - block.boxes[inside, :2]
    return {
        "nuclei": pack(nuclei),
        "rows": rows,
        "fragments": _fragments(block, outside, box),
        **{side: number[edge] for side, edge in zip(SIDES, edges, strict=True)},
        "facts": np.array([len(inside), extents.max(initial=0)]),
        "digest": np.array([block.digest], np.uint64),
    }


def _fragments(
    block: LabeledBlock, outside: npt.NDArray[np.intp], box: Box
) -> npt.NDArray[np.int64]:
    """(f, 6) boxes and first pixels, in the map, of the components with these places."""
    fragments = np.empty((len(outside), 6), np.int64)
    fragments[:, :4] = block.boxes[outside] + np.array([box.y0, box.x0] * 2)
    for fragment, label in zip(fragments, outside + 1, strict=True):
        y0, x0, _, x1 = block.boxes[label - 1]
        first = int(np.argmax(block.labels[y0, x0:x1] == label))
        fragment[4:] = box.y0 + y0, box.x0 + x0 + first
    return fragments
