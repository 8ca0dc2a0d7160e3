"""One block of a map: the components that lie whole inside it, solved; the others, noted.

A component that touches a seam (a block edge that is no image edge), or that is
over the budget, is left for later: here it is a *fragment*, of which only its
box, one of its pixels, and where it meets the seams are kept.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.scratch import Arrays
from nucleipel.instances.compression import pack
from nucleipel.instances.connected_components import connected_components
from nucleipel.instances.map_hash import foreground_and_digest
from nucleipel.instances.rule import IntegerRule
from nucleipel.instances.watershed import solve_components

SIDES = ("top", "left", "bottom", "right")


@dataclass(frozen=True, slots=True)
class Job:
    """What every block of one map has in common."""

    shape: tuple[int, int]
    rule: IntegerRule
    block_px: int
    max_component_px: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return -(-self.shape[0] // self.block_px), -(-self.shape[1] // self.block_px)

    def box(self, row: int, column: int) -> Box:
        """The block at a place of the grid."""
        y, x = row * self.block_px, column * self.block_px
        return Box(y, x, y + self.block_px, x + self.block_px).clip(self.shape)


@dataclass(frozen=True, slots=True)
class Labels:
    """The connected components of one block.

    `labels` (h, w) int32 with 0 for background; `boxes` (n, 4) int32 in the
    block, of labels 1..n; `holes` (n,) int32 in each; `inside` (n,) whether a
    label is solved in the block;
    `digest` of the block's probabilities.
    """

    labels: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.int32]
    holes: npt.NDArray[np.int32]
    inside: npt.NDArray[np.bool_]
    digest: int


def label_block(probabilities: npt.NDArray[np.uint8], box: Box, job: Job) -> Labels:
    """Connected components (8-connected) of a block's (C, h, w) probabilities."""
    foreground, digest = foreground_and_digest(
        probabilities, job.rule.foreground_percent, box.y0, box.x0, job.shape[1]
    )
    labels, boxes, holes = connected_components(foreground)
    extents = boxes[:, 2:] - boxes[:, :2]
    inside = extents.max(axis=1, initial=0) <= job.max_component_px
    inside &= (boxes[:, 0] > 0) | (box.y0 == 0)
    inside &= (boxes[:, 1] > 0) | (box.x0 == 0)
    inside &= (boxes[:, 2] < labels.shape[0]) | (box.y1 == job.shape[0])
    inside &= (boxes[:, 3] < labels.shape[1]) | (box.x1 == job.shape[1])
    return Labels(labels, boxes, holes, inside, int(digest))


def solve(
    labels: npt.NDArray[np.int32],
    chosen: npt.NDArray[np.int32],
    boxes: npt.NDArray[np.int32],
    holes: npt.NDArray[np.int32],
    probabilities: npt.NDArray[np.uint8],
    origin: tuple[int, int],
    job: Job,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """`solve_components` of a window with its probabilities (C, h, w), at `origin` in the map."""
    rule = job.rule
    nuclei, rows = solve_components(
        labels,
        chosen,
        boxes,
        holes,
        probabilities,
        np.array(origin, np.int64),
        np.array(job.shape, np.int64),
        rule.fill_holes_px,
        rule.distance_px,
        rule.distance_height,
        rule.channel_height,
        rule.interior_height,
        rule.weights,
        rule.persistence,
        rule.concave_persistence,
        rule.solidity_gain,
        rule.min_area_px,
        rule.min_probability_percent,
    )
    return nuclei, rows


def solve_block(probabilities: npt.NDArray[np.uint8], box: Box, job: Job) -> Arrays:
    """All that is needed of a block later: its nuclei so far, its fragments, its edges.

    Returns
    -------
    dict of arrays
        `nuclei`, packed (h, w) map, 1..m; `rows` (m, 10) as in
        `component.ROW`; `fragments` (f, 6): box and one pixel, in the map;
        `top`, `left`, `bottom`, `right`: fragments 1..f along the edges, 0
        elsewhere; `facts`: number of inside components, their largest extent;
        `digest` of the probabilities.
    """
    found = label_block(probabilities, box, job)
    inside = np.flatnonzero(found.inside)
    outside = np.flatnonzero(~found.inside)
    nuclei, rows = solve(
        found.labels,
        (inside + 1).astype(np.int32),
        found.boxes[inside],
        found.holes[inside],
        probabilities,
        (box.y0, box.x0),
        job,
    )
    number = np.zeros(len(found.inside) + 1, np.int32)
    number[outside + 1] = np.arange(1, len(outside) + 1)
    edges = (found.labels[0], found.labels[:, 0], found.labels[-1], found.labels[:, -1])
    extents = found.boxes[inside, 2:] - found.boxes[inside, :2]
    return {
        "nuclei": pack(nuclei),
        "rows": rows,
        "fragments": _fragments(found, outside, box),
        **{side: number[edge] for side, edge in zip(SIDES, edges, strict=True)},
        "facts": np.array([len(inside), extents.max(initial=0)]),
        "digest": np.array([found.digest], np.uint64),
    }


def _fragments(found: Labels, outside: npt.NDArray[np.intp], box: Box) -> npt.NDArray[np.int64]:
    fragments = np.empty((len(outside), 6), np.int64)
    fragments[:, :4] = found.boxes[outside] + np.array([box.y0, box.x0] * 2)
    for fragment, label in zip(fragments, outside + 1, strict=True):
        y0, x0, _, x1 = found.boxes[label - 1]
        first = int(np.argmax(found.labels[y0, x0:x1] == label))
        fragment[4:] = box.y0 + y0, box.x0 + x0 + first
    return fragments
