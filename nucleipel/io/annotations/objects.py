"""From drawn nuclei to one instance map: the conventions of every importer.

- **Pixel centers.** Pixel (0, 0) covers [0, 1) x [0, 1). A polygon is
  rasterized with 8 x 8 sub-pixels; a pixel belongs to it when at least half
  of them, by their centers, are inside.
- **Holes.** Inside is what an odd number of rings surrounds, so an inner ring
  is a hole; crossing outlines follow the same rule.
- **Overlaps.** The smaller nucleus wins, of two of one size the later one.
- **Ids.** 1..n without gaps, in raster order of each nucleus's first pixel. A
  nucleus that others cover whole is gone; one that they cut stays one nucleus.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from skimage.draw import polygon

SUB_PIXELS = 8

Ring = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Drawn:
    """An instance map (H, W) uint32, and how many nuclei did not come into it, and why."""

    instance_map: npt.NDArray[np.uint32]
    covered: int = 0
    small: int = 0

    @property
    def count(self) -> int:
        """Nuclei in the map."""
        return int(self.instance_map.max(initial=0))


@dataclass(frozen=True, slots=True)
class Mask:
    """The pixels of one nucleus: `pixels` (h, w) bool with its corner at (y0, x0)."""

    y0: int
    x0: int
    pixels: npt.NDArray[np.bool_]

    @property
    def area_px(self) -> int:
        """Number of pixels."""
        return int(self.pixels.sum())


def rasterize(rings: Sequence[Ring], shape: tuple[int, int]) -> Mask:
    """The pixels of rings, (n, 2) arrays of (y, x), on an image of shape (height, width)."""
    points = np.concatenate(rings)
    low = np.clip(np.floor(points.min(axis=0)).astype(int), 0, shape)
    high = np.clip(np.ceil(points.max(axis=0)).astype(int), 0, shape)
    height, width = np.maximum(high - low, 0)
    fine = np.zeros((height * SUB_PIXELS, width * SUB_PIXELS), bool)
    for ring in rings if fine.size else ():
        # skimage has pixel centers at whole numbers, here they lie at halves
        inner = (ring - low) * SUB_PIXELS - 0.5
        fine[polygon(inner[:, 0], inner[:, 1], fine.shape)] ^= True
    share = fine.reshape(height, SUB_PIXELS, width, SUB_PIXELS).sum(axis=(1, 3))
    return Mask(int(low[0]), int(low[1]), share >= SUB_PIXELS**2 // 2)


def draw(masks: Iterable[Mask], shape: tuple[int, int], *, min_area_px: int = 0) -> Drawn:
    """The instance map of masks that may overlap, on an image of shape (height, width)."""
    everything = list(masks)
    areas = np.array([mask.area_px for mask in everything], np.int64)
    kept = np.flatnonzero(areas >= max(min_area_px, 1))
    canvas = np.zeros(shape, np.uint32)
    for index in kept[np.argsort(-areas[kept], kind="stable")]:
        mask = everything[index]
        height, width = mask.pixels.shape
        canvas[mask.y0 : mask.y0 + height, mask.x0 : mask.x0 + width][mask.pixels] = index + 1
    instance_map = number(canvas)
    found = int(instance_map.max(initial=0))
    return Drawn(instance_map, covered=len(kept) - found, small=len(everything) - len(kept))


def drawn_ids(ids: npt.NDArray[np.int64], *, min_area_px: int = 0) -> Drawn:
    """The instance map of an image of ids, 0 background, any other ids."""
    if not min_area_px:
        return Drawn(number(ids))
    found, inverse, areas = np.unique(ids, return_inverse=True, return_counts=True)
    small = (areas < min_area_px) & (found != 0)
    kept = np.where(small[inverse.reshape(ids.shape)], 0, ids)
    return Drawn(number(kept), small=int(small.sum()))


def number(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.uint32]:
    """Renumber ids 1..n in raster order of their first pixel; 0 stays 0.

    >>> number(np.array([[0, 9, 9], [4, 0, 9]])).tolist()
    [[0, 1, 1], [2, 0, 1]]
    """
    found, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first[found != 0])
    names = np.zeros(len(found), np.uint32)
    names[np.flatnonzero(found != 0)[order]] = np.arange(1, len(order) + 1, dtype=np.uint32)
    return names[inverse.reshape(ids.shape)]
