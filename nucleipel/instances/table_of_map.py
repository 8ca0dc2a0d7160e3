"""The table of an instance map that was not made from probabilities, and raster order of ids."""

import numpy as np
import numpy.typing as npt

from nucleipel.instances.nucleus_table import NucleusTable
from nucleipel.instances.watershed import AREA, FIRST_Y, PROBABILITY, ROW, X0, X1, Y0, Y1

CERTAIN = 255


def in_raster_order(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.uint32]:
    """(H, W) ids 1..n in order of first pixels, 0 kept.

    >>> in_raster_order(np.array([[0, 7, 7], [3, 0, 7]])).tolist()
    [[0, 1, 1], [2, 0, 1]]
    """
    values, first, place = np.unique(labels, return_index=True, return_inverse=True)
    first[values == 0] = -1
    ids = np.argsort(np.argsort(first)).astype(np.uint32) + (0 not in values)
    return ids.astype(np.uint32)[place].reshape(labels.shape)


def table_of_map(labels: npt.NDArray[np.uint32]) -> NucleusTable:
    """The nuclei of an (H, W) map of ids 1..n in raster order; each has probability 1."""
    from scipy import ndimage

    y, x = np.nonzero(labels)
    ids = labels[y, x].astype(np.int64)
    count = int(ids.max(initial=0))
    first = np.unique(ids, return_index=True)[1]
    boxes = [
        (rows.start, columns.start, rows.stop, columns.stop)
        for rows, columns in ndimage.find_objects(labels.astype(np.int64))
    ]
    columns = {
        "area": np.bincount(ids, minlength=count + 1)[1:],
        "first_y": y[first],
        "first_x": x[first],
        "sum_y": np.bincount(ids, y, minlength=count + 1)[1:],
        "sum_x": np.bincount(ids, x, minlength=count + 1)[1:],
        **dict(zip(("y0", "x0", "y1", "x1"), np.array(boxes).reshape(-1, 4).T, strict=True)),
    }
    columns["probability"] = CERTAIN * columns["area"]
    return NucleusTable(np.stack([columns[name] for name in ROW], axis=1).astype(np.int64))


def table_of_boxes(
    boxes: npt.NDArray[np.integer], area_px: npt.NDArray[np.integer]
) -> NucleusTable:
    """Nuclei of which boxes (n, 4), (y0, x0, y1, x1), and areas (n,) alone are known."""
    table = np.zeros((len(boxes), len(ROW)), np.int64)
    table[:, [Y0, X0, Y1, X1]] = boxes
    table[:, FIRST_Y] = np.maximum.accumulate(boxes[:, 0]) if len(boxes) else 0
    table[:, AREA] = area_px
    table[:, PROBABILITY] = CERTAIN * table[:, AREA]
    return NucleusTable(table)
