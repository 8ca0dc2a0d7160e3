"""A window whose nuclei lie closer together: the same nuclei again, turned, next to themselves.

Where nuclei touch, a network must see a line that few annotated pixels show.
A turned copy of a window brings its nuclei next to the window's own, some
against them, each with its edge known. Light adds up in fluorescence, so the brighter
of the two pixels is shown; in transmitted light it is the darker one. After
the copy-paste of Ghiasi et al. 2021 (Simple Copy-Paste, CVPR), without
covering what lies below.
"""

import cv2
import numpy as np
import numpy.typing as npt

COVERED = 0.1
"""A nucleus that would share more of its area with others is left out."""
RIM_PX = 2
"""Width of the surroundings that come along with a nucleus."""


def crowded(
    image: npt.NDArray[np.float32],
    instance_map: npt.NDArray[np.integer],
    draw: np.random.Generator,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """An (H, W, C) image in [0, 1] and its (H, W) instance map with nuclei added between its own.

    Those that were there keep their ids and every pixel.
    """
    ids = instance_map.astype(np.int64)
    turned, copies = _turned(image, ids, draw)
    copies = np.where(copies > 0, copies + ids.max(), 0)
    free = ids == 0
    areas = np.bincount(copies.ravel())
    visible = np.bincount(copies.ravel(), weights=free.ravel(), minlength=len(areas))
    fits = visible >= (1 - COVERED) * areas
    fits[0] = False
    added = np.where(free & fits[copies], copies, 0)

    width = 2 * RIM_PX + 1
    around = cv2.dilate((added > 0).astype(np.uint8), np.ones((width, width), np.uint8))
    bright = np.median(image) < 0.5
    both = np.maximum(image, turned) if bright else np.minimum(image, turned)
    # a copy of a neighbor that was left out must not be shown without its id
    shown = (around > 0) & ((copies == 0) | (added > 0))
    return np.where(shown[..., None], both, image), np.where(free, added, ids)


def _turned(
    image: npt.NDArray[np.float32], ids: npt.NDArray[np.int64], draw: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Both by quarter turns; a mirror would join what lies on its axis with itself."""
    turns = int(draw.integers(1, 4)) if ids.shape[0] == ids.shape[1] else 2
    return np.rot90(image, turns), np.rot90(ids, turns)
