"""What the network is asked to predict: background, nucleus interior, nucleus boundary.

The boundary is the inner rim of each nucleus, so that interior and boundary
together are exactly the annotated nucleus (Dice is not spent on a wall drawn
outside it), and two nuclei that touch are kept apart by both their rims.
"""

import cv2
import numpy as np
import numpy.typing as npt

BACKGROUND, INTERIOR, BOUNDARY = 0, 1, 2
CLASSES = ("background", "interior", "boundary")


def class_targets(
    instance_map: npt.NDArray[np.integer], *, boundary_px: int
) -> npt.NDArray[np.uint8]:
    """Class of each pixel, (H, W) uint8, from an (H, W) instance map.

    A pixel of a nucleus is boundary if a pixel within `boundary_px` (in a
    disc, clipped at the image edges) belongs to anything else. A nucleus cut by
    the image edge has no boundary there: what lies beyond is not known.

    >>> class_targets(np.array([[0, 1, 1, 1, 2, 2, 2]]), boundary_px=1).tolist()
    [[0, 2, 1, 2, 2, 1, 1]]
    """
    # cv2 dilates and erodes no int32, but a float32 holds every id below 2**24
    ids = np.unique(instance_map, return_inverse=True)[1].reshape(instance_map.shape)
    picture = ids.astype(np.float32)
    different = cv2.dilate(picture, _disc(boundary_px)) != cv2.erode(picture, _disc(boundary_px))
    targets = np.where(different, BOUNDARY, INTERIOR)
    return np.where(instance_map == 0, BACKGROUND, targets).astype(np.uint8)


def _disc(radius_px: int) -> npt.NDArray[np.uint8]:
    """All offsets within a radius; OpenCV's own ellipse is wider than high."""
    offsets = np.arange(-radius_px, radius_px + 1)
    return (offsets[:, None] ** 2 + offsets**2 <= radius_px**2).astype(np.uint8)


def one_hot(targets: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(C, H, W) float32 one-hot annotation from (H, W) classes."""
    return np.stack([targets == index for index in range(len(CLASSES))]).astype(np.float32)
