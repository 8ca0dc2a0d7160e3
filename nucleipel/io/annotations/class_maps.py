"""Labels of classes where instances are expected: all nuclei have one id, or one a class.

They pass for instance maps, and teach that a hundred nuclei are one.
"""

import cv2
import numpy as np
import numpy.typing as npt

MOST_CLASSES = 16
LARGEST_CLASS = 255
FEWEST_PIECES = 3
"""A nucleus in two pieces is nothing unusual; each of them in three or more is."""


def ids_of_classes(ids: npt.NDArray[np.integer], *, fewest: int = FEWEST_PIECES) -> dict[int, int]:
    """Pieces (8-connected) of each id of an (H, W) map whose every id is in `fewest` or more.

    Empty where the map can be one of instances: an id of fewer pieces, more than
    `MOST_CLASSES` ids, or ids above `LARGEST_CLASS`, a single one excepted.
    """
    top = int(ids.max(initial=0))
    values: list[int]
    if top > LARGEST_CLASS:
        values = [top] if (ids[ids > 0] == top).all() else []
    else:
        values = np.flatnonzero(np.bincount(ids[ids > 0].astype(np.int64))).tolist()
    pieces = {}
    for value in values if len(values) <= MOST_CLASSES else ():
        pieces[value] = cv2.connectedComponents((ids == value).astype(np.uint8), connectivity=8)[0]
        pieces[value] -= 1
        if pieces[value] < fewest:
            return {}
    return pieces


def describe_classes(pieces: dict[int, int]) -> str:
    """Describe what is wrong with a label of such ids."""
    if len(pieces) == 1:
        ((value, count),) = pieces.items()
        return f"one id, {value}, in {count} pieces: a mask, not instances"
    ids = ", ".join(map(str, pieces))
    return f"ids {ids}, each in {min(pieces.values())} pieces or more: classes, not instances"


def number_pieces(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Each 8-connected piece of each id (H, W) as an id of its own, 1..n."""
    numbered = np.zeros(ids.shape, np.int64)
    for value in np.unique(ids[ids > 0]):
        _, pieces = cv2.connectedComponents((ids == value).astype(np.uint8), connectivity=8)
        numbered[pieces > 0] = pieces[pieces > 0] + numbered.max()
    return numbered
