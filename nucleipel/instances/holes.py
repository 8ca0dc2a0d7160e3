"""Filling small holes of components, without ever joining two of them."""

import cv2
import numba
import numpy as np
import numpy.typing as npt

NOBODY, SEVERAL = 0, -1


def fill_holes(labels: npt.NDArray[np.int32], *, max_px: int) -> npt.NDArray[np.int32]:
    """Give each hole of up to `max_px` pixels to the component around it.

    A hole is a 4-connected piece of background that touches no image edge and
    one component only: one that holds another component stays.
    """
    background = (labels == 0).astype(np.uint8)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(background, connectivity=4)
    height, width = labels.shape
    inside = (
        (stats[:, cv2.CC_STAT_LEFT] > 0)
        & (stats[:, cv2.CC_STAT_TOP] > 0)
        & (stats[:, cv2.CC_STAT_LEFT] + stats[:, cv2.CC_STAT_WIDTH] < width)
        & (stats[:, cv2.CC_STAT_TOP] + stats[:, cv2.CC_STAT_HEIGHT] < height)
    )
    small = inside & (stats[:, cv2.CC_STAT_AREA] <= max_px)
    small[0] = False
    owner = np.where(small, _owners(labels, pieces, count), NOBODY)
    owner[owner == SEVERAL] = NOBODY
    return labels + owner.astype(np.int32)[pieces]


@numba.njit(cache=True)
def _owners(labels, pieces, count):  # type: ignore[no-untyped-def]
    """For each piece of background, the one component that touches it, or `SEVERAL`."""
    owner = np.zeros(count, np.int32)
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            piece = pieces[y, x]
            if piece == 0:
                continue
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                v, u = y + dy, x + dx
                if 0 <= v < height and 0 <= u < width and labels[v, u] > 0:
                    if owner[piece] == NOBODY:
                        owner[piece] = labels[v, u]
                    elif owner[piece] != labels[v, u]:
                        owner[piece] = SEVERAL
    return owner
