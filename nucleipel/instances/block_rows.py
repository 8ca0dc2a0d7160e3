"""A row of blocks as later steps need it, and the components that no block of any row could solve.

What a row keeps is small: its nuclei so far, its fragments, and where these
meet the rows above and below. So joining and numbering read one set of arrays
for each row, and none for each block.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.scratch import Arrays, Scratch
from nucleipel.instances.blocks import SIDES, BlockPlan, block_name
from nucleipel.instances.seams import CrossingComponent
from nucleipel.instances.watershed import ROW

JOINED = "joined"


def row_name(row: int) -> str:
    """Name of a row of blocks in the scratch."""
    return f"row-{row}"


def crossings_name(row: int) -> str:
    """Name of the components that cross seams and begin in a row of blocks."""
    return f"crossings-{row}"


def summarize_row(scratch: Scratch, row: int, columns: Iterable[int], plan: BlockPlan) -> Arrays:
    """Gather what is kept of a row whose blocks in these columns are solved; the others are empty.

    Returns
    -------
    dict of arrays
        `fragments` (f, 6), numbered 1..f through the row, and `places` (f, 2),
        their columns and numbers in the block; `pairs` (p, 2) of fragments that
        touch inside the row; `top_x` and `top`, `bottom_x` and `bottom`: where
        fragments meet the row's edges, and which; `rows` (m, 10) of the nuclei
        and `counts` (columns,), how many of them each block has; `facts` and
        `digest` as of `solve_block`, for the whole row.
    """
    width = plan.shape[1]
    fragments, places = [np.zeros((0, 6), np.int64)], [np.zeros((0, 2), np.int64)]
    pairs, rows = [np.zeros((0, 2), np.int64)], [np.zeros((0, len(ROW)), np.int64)]
    edges = {side: np.zeros(width, np.int64) for side in ("top", "bottom")}
    counts = np.zeros(plan.grid[1], np.int64)
    facts, digest, offset = np.zeros(2, np.int64), 0, 0
    left_edge, left_column = np.zeros(0, np.int64), -2
    for column in columns:
        block = scratch.get(block_name(row, column), "fragments", *SIDES, "rows", "facts", "digest")
        box = plan.box(row, column)
        count = len(block["fragments"])
        fragments.append(block["fragments"])
        numbers = np.arange(1, count + 1)
        places.append(np.stack([np.full_like(numbers, column), numbers], axis=1))
        sides = {side: np.where(block[side] > 0, block[side] + offset, 0) for side in SIDES}
        if left_column == column - 1:
            pairs.append(touching(left_edge, sides["left"]))
        left_edge, left_column = sides["right"], column
        for side, edge in edges.items():
            edge[box.x0 : box.x1] = sides[side]
        offset += count
        rows.append(block["rows"])
        counts[column] = len(block["rows"])
        facts = np.array([facts[0] + block["facts"][0], max(facts[1], block["facts"][1])])
        digest = (digest + int(block["digest"][0])) % 2**64
    at = {side: np.flatnonzero(edge) for side, edge in edges.items()}
    return {
        "fragments": np.concatenate(fragments),
        "places": np.concatenate(places),
        "pairs": np.concatenate(pairs),
        **{f"{side}_x": places_x for side, places_x in at.items()},
        **{side: edges[side][places_x] for side, places_x in at.items()},
        "rows": np.concatenate(rows),
        "counts": counts,
        "facts": facts,
        "digest": np.array([digest], np.uint64),
    }


def touching(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n, 2) pairs of fragments that are neighbors across a seam, from their places along it."""
    pairs = []
    for step in (-1, 0, 1):
        here = one[max(-step, 0) : len(one) - max(step, 0)]
        there = other[max(step, 0) : len(other) - max(-step, 0)]
        both = (here > 0) & (there > 0)
        pairs.append(np.stack([here[both], there[both]], axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def join_rows(scratch: Scratch, plan: BlockPlan) -> None:
    """Join the fragments of all rows into components; put them where the row is that they begin in.

    Of all of them, `JOINED` has `rows` (k,), those that components begin in;
    `facts`: how many components there are, how many of them cross seams, the
    longest side of any one's box; `forced` (n, 4), the boxes of those over the
    budget, and the `digest` of the probabilities.
    """
    fragments, places = [np.zeros((0, 6), np.int64)], [np.zeros((0, 3), np.int64)]
    pairs = [np.zeros((0, 2), np.int64)]
    above = np.zeros(plan.shape[1], np.int64)
    inside, largest, digest, offset = 0, 0, 0, 0
    for row in range(plan.grid[0]):
        kept = scratch.get(
            row_name(row), "fragments", "places", "pairs", "top_x", "top", "bottom_x", "bottom",
            "facts", "digest",
        )  # fmt: skip
        fragments.append(kept["fragments"])
        places.append(np.insert(kept["places"], 0, row, axis=1))
        pairs.append(kept["pairs"] + offset)
        top, below = np.zeros_like(above), np.zeros_like(above)
        top[kept["top_x"]] = kept["top"] + offset
        below[kept["bottom_x"]] = kept["bottom"] + offset
        pairs.append(touching(above, top))  # the whole row of blocks, so corners are in it
        above = below
        offset += len(kept["fragments"])
        inside += int(kept["facts"][0])
        largest = max(largest, int(kept["facts"][1]))
        digest = (digest + int(kept["digest"][0])) % 2**64
    crossings = _join_touching(
        np.concatenate(fragments), np.concatenate(places), np.concatenate(pairs)
    )
    by_row: dict[int, list[CrossingComponent]] = {}
    for crossing in crossings:
        by_row.setdefault(int(crossing.blocks[0, 0]), []).append(crossing)
    for row, beginning in by_row.items():
        if crossings_name(row) not in scratch:  # a killed run may have come so far
            scratch.put(crossings_name(row), _pack_crossings(beginning))
    largest = max([largest, *(crossing.extent_px for crossing in crossings)])
    forced = [
        [crossing.box.y0, crossing.box.x0, crossing.box.y1, crossing.box.x1]
        for crossing in crossings
        if crossing.extent_px > plan.max_component_px
    ]
    scratch.put(
        JOINED,
        {
            "rows": np.array(sorted(by_row), np.int64),
            "facts": np.array([inside + len(crossings), len(crossings), largest]),
            "forced": np.array(sorted(forced), np.int64).reshape(-1, 4),
            "digest": np.array([digest], np.uint64),
        },
    )


def _join_touching(
    fragments: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    pairs: npt.NDArray[np.int64],
) -> list[CrossingComponent]:
    if len(fragments) == 0:
        return []
    # late: an image of one block needs neither
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components as graph_components

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


def _pack_crossings(crossings: list[CrossingComponent]) -> Arrays:
    boxes = [(c.box.y0, c.box.x0, c.box.y1, c.box.x1) for c in crossings]
    return {
        "boxes": np.array(boxes, np.int64),
        "pixels": np.array([crossing.pixel for crossing in crossings], np.int64),
        "counts": np.array([len(crossing.numbers) for crossing in crossings]),
        "blocks": np.concatenate([crossing.blocks for crossing in crossings]),
        "numbers": np.concatenate([crossing.numbers for crossing in crossings]),
    }


def read_crossings(scratch: Scratch, row: int) -> list[CrossingComponent]:
    """The components that cross seams and begin in a row of blocks, once all rows are joined."""
    packed = scratch.get(crossings_name(row))
    ends = np.cumsum(packed["counts"])[:-1]
    parts = zip(
        packed["boxes"].tolist(),
        packed["pixels"].tolist(),
        np.split(packed["blocks"], ends),
        np.split(packed["numbers"], ends),
        strict=True,
    )
    return [
        CrossingComponent(Box(*box), (pixel[0], pixel[1]), blocks, numbers)
        for box, pixel, blocks, numbers in parts
    ]
