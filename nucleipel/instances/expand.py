"""Nuclei to cells: every pixel within a distance of a nucleus becomes part of the nearest one.

Distances are between pixel centers, exact, and compared as integers; of two
nuclei as near the one with the smaller id has the pixel. So cells never
overlap, hold their nucleus, and a part of the map is the same whether it is
computed alone or in the whole: it depends on the nuclei within the distance only.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.compiled import compiled
from nucleipel.core.geometry import Box

BLOCK_PX = 1024


class ExpandedMap:
    """The (H, W) uint32 map of cells that follows from one of nuclei; parts are computed when read.

    Parameters
    ----------
    labels : (H, W) uint32 array
        Ids of nuclei; NumPy, zarr, or what is indexed like them.
    distance_px : float
        How far cells reach beyond their nuclei, in pixels.
    """

    dtype = np.dtype(np.uint32)
    chunks = (BLOCK_PX, BLOCK_PX)
    ndim = 2

    def __init__(self, labels: Any, distance_px: float) -> None:
        self.shape = (int(labels.shape[0]), int(labels.shape[1]))
        self.distance_px = distance_px
        self._labels = labels

    def __getitem__(self, index: tuple[slice, slice]) -> npt.NDArray[np.uint32]:
        rows, columns = (
            slice(*part.indices(length)) for part, length in zip(index, self.shape, strict=True)
        )
        box = Box(rows.start, columns.start, rows.stop, columns.stop)
        around = box.grow(int(self.distance_px)).clip(self.shape)
        nuclei = np.ascontiguousarray(np.asarray(self._labels[around.slices]), np.uint32)
        cells = expand(nuclei, self.distance_px)[box.shift(-around.y0, -around.x0).slices]
        return cells[:: rows.step, :: columns.step]


def expand(labels: npt.NDArray[np.uint32], distance_px: float) -> npt.NDArray[np.uint32]:
    """The (H, W) uint32 cells of an (H, W) map of nuclei.

    >>> expand(np.array([[0, 0, 2, 0, 1, 0, 0]], np.uint32), 1.5).tolist()
    [[0, 2, 2, 1, 1, 1, 0]]
    """
    reach = int(distance_px)
    return np.asarray(_expand(labels, reach, int(distance_px**2)))


@compiled
def _expand(ids, reach, reach2):  # type: ignore[no-untyped-def]
    height, width = ids.shape
    far = reach + 1
    # of each pixel the nearest nucleus in its column, of two as near the smaller id
    gap = np.full((height, width), far, np.int64)
    near = np.zeros((height, width), np.uint32)
    for y in range(height):
        for x in range(width):
            if ids[y, x]:
                gap[y, x], near[y, x] = 0, ids[y, x]
            elif y and gap[y - 1, x] < reach:
                gap[y, x], near[y, x] = gap[y - 1, x] + 1, near[y - 1, x]
    below = np.full(width, far, np.int64)
    below_id = np.zeros(width, np.uint32)
    for y in range(height - 1, -1, -1):
        for x in range(width):
            if ids[y, x]:
                below[x], below_id[x] = 0, ids[y, x]
            else:
                below[x] = min(below[x] + 1, far)
                closer = below[x] < gap[y, x]
                same = below[x] == gap[y, x] and below[x] < far and below_id[x] < near[y, x]
                if closer or same:
                    gap[y, x], near[y, x] = below[x], below_id[x]
    cells = np.zeros((height, width), np.uint32)
    for y in range(height):
        for x in range(width):
            if ids[y, x]:
                cells[y, x] = ids[y, x]
                continue
            best, best_id = reach2 + 1, np.uint32(0)
            for u in range(max(0, x - reach), min(width, x + reach + 1)):
                if gap[y, u] < far:
                    square = gap[y, u] ** 2 + (u - x) ** 2
                    if square < best or (square == best and near[y, u] < best_id):
                        best, best_id = square, near[y, u]
            cells[y, x] = best_id
    return cells
