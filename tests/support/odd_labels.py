"""Label images as people bring them: instance maps, and what only has their shape."""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

SIDE_PX = 256
Change = Callable[[np.ndarray], np.ndarray]


def nuclei(*, side_px: int = SIDE_PX, step_px: int = 34) -> np.ndarray:
    """(side, side) uint32: ellipses of some 20 px on a grid, ids 1..n from the upper left on."""
    y, x = np.mgrid[:side_px, :side_px]
    ids = np.zeros((side_px, side_px), np.uint32)
    centers = range(step_px - 9, side_px - 10, step_px)
    for number, (cy, cx) in enumerate(((cy, cx) for cy in centers for cx in centers), 1):
        ids[(y - cy) ** 2 / 110 + (x - cx) ** 2 / 90 <= 1] = number
    return ids


def picture_of(ids: np.ndarray) -> np.ndarray:
    """Gray pixels uint8 of these nuclei, with noise."""
    noise = np.random.default_rng(2).normal(0, 6, ids.shape)
    return np.clip(30 + 150 * (ids > 0) + noise, 0, 255).astype(np.uint8)


def resized(ids: np.ndarray) -> np.ndarray:
    """Halved and enlarged again, with interpolation."""
    return np.rint(ndimage.zoom(ids[::2, ::2].astype(float), 2, order=1)).astype(np.uint16)


def rotated(ids: np.ndarray) -> np.ndarray:
    """Turned by ten degrees with interpolation."""
    turned = ndimage.rotate(ids.astype(float), 10, order=1, reshape=False)
    return np.rint(turned).astype(np.uint16)


def blurred_mask(ids: np.ndarray) -> np.ndarray:
    """A mask with soft edges, as JPEG and drawing programs make them."""
    noise = np.random.default_rng(0).normal(0, 3, ids.shape)
    return np.clip(ndimage.gaussian_filter((ids > 0) * 255.0, 1) + noise, 0, 255).astype(np.uint8)


def distances(ids: np.ndarray) -> np.ndarray:
    """The distance of each pixel to its nucleus' edge."""
    return np.rint(ndimage.distance_transform_edt(ids > 0)).astype(np.uint8)


def speckled(ids: np.ndarray) -> np.ndarray:
    """One id in single pixels all over the background."""
    dots = (np.random.default_rng(1).random(ids.shape) < 0.002) & (ids == 0)
    return np.where(dots, 1000, ids)


def with_border(ids: np.ndarray) -> np.ndarray:
    """A border of its own id around every nucleus, to be ignored."""
    ring = ndimage.binary_dilation(ids > 0, iterations=2) & (ids == 0)
    return np.where(ring, 9999, ids)


def with_background(ids: np.ndarray) -> np.ndarray:
    """Background that has an id, 1, and nuclei from 2 on."""
    return ids + 1


def exchanged(ids: np.ndarray) -> np.ndarray:
    """A mask of the background."""
    return ((ids == 0) * 255).astype(np.uint8)


def eight_bits(ids: np.ndarray) -> np.ndarray:
    """Ids that begin again after 20, as they do after 255 in files of 8 bits."""
    return np.where(ids > 0, ids % 20 + 1, 0).astype(np.uint8)


def classes(ids: np.ndarray) -> np.ndarray:
    """Three classes."""
    return np.where(ids > 0, ids % 3 + 1, 0).astype(np.uint8)


def points(ids: np.ndarray) -> np.ndarray:
    """The centers of the nuclei alone."""
    marked = np.zeros_like(ids)
    for number, (y, x) in enumerate(ndimage.center_of_mass(ids > 0, ids, range(1, ids.max() + 1))):
        marked[int(y), int(x)] = number + 1
    return marked
