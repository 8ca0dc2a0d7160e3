"""Ids 1..n in raster order of first pixels, whatever the blocks.

A nucleus whose first pixel lies in an earlier row of blocks comes before all of
this row. So rows are numbered one after another, from what they keep and from
the nuclei of components that cross seams, of which rows and ids stay in memory
(84 bytes a nucleus); pixels are not needed.
"""

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.scratch import Arrays, Scratch
from nucleipel.instances.block_rows import JOINED, row_name
from nucleipel.instances.blocks import BlockPlan
from nucleipel.instances.compression import unpack
from nucleipel.instances.seams import blocks_touched
from nucleipel.instances.watershed import FIRST_X, FIRST_Y, ROW

NUMBERED = "numbered"


def seams_name(row: int) -> str:
    """Name of the nuclei of all components that cross seams and begin in a row of blocks."""
    return f"seams-{row}"


def group_name(row: int, group: int) -> str:
    """Name of the pixels of one group of these."""
    return f"seams-{row}-{group}"


def ids_name(row: int) -> str:
    """Name of the ids of a row's own nuclei, and its part of the table."""
    return f"ids-{row}"


def crossing_ids_name(row: int) -> str:
    """Name of the ids of the nuclei in `seams_name`."""
    return f"seam-ids-{row}"


def gather_groups(scratch: Scratch, row: int, count: int) -> Arrays:
    """Gather what is kept of a row's solved groups: all but their pixels.

    Returns
    -------
    dict of arrays
        `boxes` (p, 4) of all pieces and `pieces` (groups,), how many of them
        each group has; `rows` (m, 10) of the nuclei, `nuclei` (groups,), how many.
    """
    groups = [scratch.get(group_name(row, group), "boxes", "rows") for group in range(count)]
    return {
        "boxes": np.concatenate([group["boxes"] for group in groups]),
        "pieces": np.array([len(group["boxes"]) for group in groups]),
        "rows": np.concatenate([group["rows"] for group in groups]),
        "nuclei": np.array([len(group["rows"]) for group in groups]),
    }


def number_rows(scratch: Scratch, plan: BlockPlan) -> None:
    """Number every nucleus.

    Of each row, `ids_name` has its part of the `table`, one row a nucleus as in
    `watershed.ROW`, in order of ids, and the `ids` of the nuclei in its `rows`;
    of all, `NUMBERED` has `first` (rows + 1,), how many nuclei begin before each
    row, and `reach` (rows,), the last row of blocks that the components of each
    row lie in.
    """
    count, side = plan.grid[0], plan.block_px
    seam_rows = scratch.get(JOINED, "rows")["rows"].tolist()
    parts, reach = [np.zeros((0, len(ROW)), np.int64)], np.full(count, -1)
    for row in seam_rows:
        seams = scratch.get(seams_name(row), "boxes", "rows")
        parts.append(seams["rows"])
        reach[row] = (seams["boxes"][:, 2].max(initial=1) - 1) // side
    crossing = np.concatenate(parts)
    crossing_ids = np.zeros(len(crossing), np.uint32)
    begins_in = crossing[:, FIRST_Y] // side
    first = np.zeros(count + 1, np.int64)
    for row in range(count):
        own, begins = scratch.get(row_name(row), "rows")["rows"], np.flatnonzero(begins_in == row)
        rows = np.concatenate([own, crossing[begins]])
        first[row + 1] = first[row] + len(rows)
        if len(rows):
            order = np.lexsort((rows[:, FIRST_X], rows[:, FIRST_Y]))
            ids = np.empty(len(rows), np.uint32)
            ids[order] = np.arange(first[row] + 1, first[row + 1] + 1)
            if ids_name(row) not in scratch:  # a killed run may have come so far
                scratch.put(ids_name(row), {"table": rows[order], "ids": ids[: len(own)]})
            crossing_ids[begins] = ids[len(own) :]
    ends = np.cumsum([len(part) for part in parts])
    for row, ids in zip(seam_rows, np.split(crossing_ids, ends[:-1])[1:], strict=True):
        if crossing_ids_name(row) not in scratch:
            scratch.put(crossing_ids_name(row), {"ids": ids})
    scratch.put(NUMBERED, {"first": first, "reach": reach})


class CrossingNuclei:
    """The nuclei of components that cross seams, as far as they reach into one row of blocks."""

    def __init__(self, scratch: Scratch, row: int, plan: BlockPlan) -> None:
        self._scratch = scratch
        self._groups: dict[int, list[tuple[str, npt.NDArray[np.uint32]]]] = {}
        reach = scratch.get(NUMBERED, "reach")["reach"]
        for begin in np.flatnonzero(reach[: row + 1] >= row).tolist():
            seams = scratch.get(seams_name(begin), "boxes", "pieces", "nuclei")
            ids = scratch.get(crossing_ids_name(begin), "ids")["ids"]
            boxes = np.split(seams["boxes"], np.cumsum(seams["pieces"])[:-1])
            numbers = np.split(ids, np.cumsum(seams["nuclei"])[:-1])
            for group, (pieces, own) in enumerate(zip(boxes, numbers, strict=True)):
                columns = {
                    column
                    for bounds in pieces.tolist()
                    for touched, column in blocks_touched(Box(*bounds), plan.block_px)
                    if touched == row
                }
                for column in columns:
                    entry = group_name(begin, group), np.append(np.uint32(0), own)
                    self._groups.setdefault(column, []).append(entry)

    def reaches(self, column: int) -> bool:
        """Return whether one may lie in the block of the row that is in a column."""
        return column in self._groups

    def paint(self, target: npt.NDArray[np.uint32], box: Box, column: int) -> None:
        """Write the ids of nuclei into the (h, w) map of the block in a column."""
        for name, ids in self._groups.get(column, []):
            group = self._scratch.get(name, "boxes", "nuclei")
            boxes = group["boxes"]
            sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
            ends = np.cumsum(sizes)
            pixels = unpack(group["nuclei"], (1, int(sizes.sum())))[0]
            for bounds, size, end in zip(boxes.tolist(), sizes, ends, strict=True):
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
