"""Brightness that differs from nucleus to nucleus, and light that lies over a whole window.

In fluorescence dim nuclei lie next to others ten times as bright, while nuclei of
one training image are mostly alike: a network that sees only these misses the
dim ones, or draws their contours too tight. Each nucleus gets a contrast of its
own here, its glow included, so that no new edge appears at its contour.
"""

import cv2
import numpy as np
import numpy.typing as npt

DIMMEST = 0.1
"""Least share of its contrast that a nucleus keeps."""
GLOW_PX = 8
"""Distance from a nucleus over which its factor fades."""
EDGE_PX = 1.0
"""Sigma by which factors of touching nuclei are blended."""
THICKEST_VEIL = 0.3
"""Largest share of the range from 0 to 1 that a veil takes up."""
MOST_CLOUDS = 8
"""Points along a window between which the thickness of a veil changes, at most."""


def uneven_nuclei(
    image: npt.NDArray[np.float32],
    instance_map: npt.NDArray[np.integer],
    draw: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """An (H, W, C) image in [0, 1] with a contrast of its own for each nucleus of the (H, W) map.

    A pixel p of a nucleus becomes b + f (p - b). b is the median of the background; f is
    drawn for each nucleus, log-uniform between 1 and a least factor, which is drawn
    likewise for the window, from `DIMMEST` on. The nucleus of the greatest factor
    keeps its contrast, so that the window stays as bright as it was.
    """
    background = instance_map == 0
    if background.all() or not background.any():
        return image
    ids = np.unique(instance_map, return_inverse=True)[1].reshape(instance_map.shape)
    least = np.log(DIMMEST) * draw.random()
    factors = np.exp(least * draw.random(ids.max() + 1))
    factors[0] = 0
    factors /= factors.max()

    distance, nearest = cv2.distanceTransformWithLabels(
        background.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_label = np.zeros(int(nearest.max()) + 1)
    of_label[nearest[~background]] = factors[ids[~background]]
    near = np.clip(1 - distance / GLOW_PX, 0, 1)
    factor = cv2.GaussianBlur(1 + near * (of_label[nearest] - 1), (0, 0), EDGE_PX)
    level = np.median(image[background], axis=0)
    return (level + factor[..., None] * (image - level)).astype(np.float32)


def veiled(image: npt.NDArray[np.float32], draw: np.random.Generator) -> npt.NDArray[np.float32]:
    """An (H, W, C) image in [0, 1] below a smooth veil: light out of focus, or uneven glass.

    The veil takes up part of the range, so contrast falls where it is thick. On a dark
    background it adds light, on a light one it takes some away.
    """
    height, width = image.shape[:2]
    side = int(draw.integers(2, MOST_CLOUDS + 1))
    clouds = draw.random((side, side), np.float32)
    clouds = np.clip(cv2.resize(clouds, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
    veil = draw.uniform(0, THICKEST_VEIL) * clouds[..., None]
    light = 1.0 if np.median(image) < 0.5 else 0.0
    return (image + veil * (light - image)).astype(np.float32)
