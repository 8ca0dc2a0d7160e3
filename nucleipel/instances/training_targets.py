"""Targets of the network: three classes, and the distance to the nucleus' own edge.

The classes are background, nucleus interior and nucleus boundary. The boundary
is the inner rim of each nucleus, so that interior and boundary together are
exactly the annotated nucleus (Dice is not spent on a wall drawn outside it),
and two nuclei that touch are kept apart by both their rims.

The distance is that of a pixel to the edge of its own nucleus, as a fraction
of the greatest in it: nuclei of any size have a summit of 1 and valleys between
them. StarDist (Schmidt et al. 2018, "object probability") learns the same.
"""

import cv2
import numpy as np
import numpy.typing as npt

BACKGROUND, INTERIOR, BOUNDARY, DISTANCE = 0, 1, 2, 3
CLASSES = ("background", "interior", "boundary")
MAPS = (*CLASSES, "distance")


def class_targets(
    instance_map: npt.NDArray[np.integer],
    *,
    boundary_px: int,
    counted: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """Compute the class of each pixel, (H, W) uint8, from an (H, W) instance map.

    A pixel of a nucleus is boundary if a pixel within `boundary_px` (in a
    disc, clipped at the image edges) belongs to anything else. A nucleus cut by
    the image edge has no boundary there: what lies beyond is not known. So it is
    where `counted` (H, W) is False; the class of such a pixel says nothing.

    >>> class_targets(np.array([[0, 1, 1, 1, 2, 2, 2]]), boundary_px=1).tolist()
    [[0, 2, 1, 2, 2, 1, 1]]
    """
    # cv2 dilates and erodes no int32, but a float32 holds every id below 2**24
    ids = np.unique(instance_map, return_inverse=True)[1].reshape(instance_map.shape)
    picture = ids.astype(np.float32)
    disc, low, high = _disc(boundary_px), picture, picture
    if counted is not None:  # as beyond the image, where OpenCV takes what changes nothing
        low = np.where(counted, picture, np.float32(-1))
        high = np.where(counted, picture, np.float32(np.inf))
    different = cv2.dilate(low, disc) != cv2.erode(high, disc)
    targets = np.where(different, BOUNDARY, INTERIOR)
    return np.where(instance_map == 0, BACKGROUND, targets).astype(np.uint8)


def distance_target(
    instance_map: npt.NDArray[np.integer], *, counted: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float32]:
    """Compute the distance to the edge of the own nucleus over its greatest; 0 in the background.

    (H, W) instance map to (H, W) float32. A nucleus cut by the image edge has
    no edge there: what lies beyond is not known. So it is where `counted` (H, W)
    is False, where the distance is 0.

    >>> distance_target(np.array([[0, 1, 1, 1, 0, 2, 2, 2]])).tolist()
    [[0.0, 0.5, 1.0, 0.5, 0.0, 0.3333333432674408, 0.6666666865348816, 1.0]]
    """
    from scipy.ndimage import find_objects  # late: prediction does without it

    ids = np.unique(instance_map, return_inverse=True)[1].reshape(instance_map.shape)
    if instance_map.min() > 0:
        ids = ids + 1  # no background in this map: 0 must stay free
    if counted is not None:
        ids = np.where(counted, ids, 0)  # what a nucleus covers elsewhere is not known
    distance = np.zeros(instance_map.shape, np.float32)
    height, width = instance_map.shape
    for index, place in enumerate(find_objects(ids), start=1):
        if place is None:
            continue
        # one pixel more on each side, so that the nucleus' own edge is in it
        rows = slice(max(place[0].start - 1, 0), min(place[0].stop + 1, height))
        columns = slice(max(place[1].start - 1, 0), min(place[1].stop + 1, width))
        own = ids[rows, columns] == index
        known = np.True_ if counted is None else counted[rows, columns]
        if (own | ~known).all():
            distance[rows, columns][own & known] = 1
            continue
        distances = cv2.distanceTransform(
            (own | ~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
        )
        # OpenCV's square root differs in the last bit from run to run; the squares are integers
        squared = np.where(own & known, np.rint(distances**2), 0)
        distance[rows, columns] += np.sqrt(squared / max(squared.max(), 1))
    return distance


def _disc(radius_px: int) -> npt.NDArray[np.uint8]:
    """Offsets within a radius, as a square of 0 and 1; OpenCV's own ellipse is wider than high."""
    offsets = np.arange(-radius_px, radius_px + 1)
    return (offsets[:, None] ** 2 + offsets**2 <= radius_px**2).astype(np.uint8)


def one_hot(targets: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Encode (H, W) uint8 classes as a (C, H, W) float32 one-hot annotation."""
    return np.stack([targets == index for index in range(len(CLASSES))]).astype(np.float32)
