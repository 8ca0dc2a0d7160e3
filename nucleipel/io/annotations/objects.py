"""From drawn nuclei to one instance map: the conventions of every importer.

- **Pixels, holes, overlaps** are those of `nucleipel.io.annotations.rasterize`.
- **Ids.** 1..n without gaps, in raster order of each nucleus's first pixel. A
  nucleus that others cover whole is gone; one that they cut stays one nucleus.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucleipel.core.compiled import compiled
from nucleipel.core.measured_nuclei import Outline
from nucleipel.io.annotations.polygons import Polygons
from nucleipel.io.annotations.rasterize import draw_ids, pixel_areas

Ids = npt.NDArray[np.int64]
BAND_PX = 2**20
"""So many pixels of a map are drawn at a time."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """An instance map (H, W), and how many nuclei are covered, or too small, for it.

    It is of uint16 where that holds all ids, else of uint32.
    """

    instance_map: npt.NDArray[np.unsignedinteger]
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


@dataclass(frozen=True, slots=True)
class Outlined:
    """Nuclei that stay polygons: of an image too large for a map, or annotated in regions only."""

    polygons: Polygons
    small: int = 0

    @property
    def count(self) -> int:
        """Number of nuclei."""
        return len(self.polygons)


def draw_polygons(polygons: Polygons, shape: tuple[int, int], *, min_area_px: int = 0) -> Drawn:
    """The instance map of polygons on an image of shape (height, width)."""
    kept = keep_polygons(polygons, shape, min_area_px=min_area_px)
    sizes = pixel_areas(kept.polygons, shape)
    columns = np.arange(shape[1])
    canvas = np.zeros(shape, id_dtype(kept.count))
    step = max(BAND_PX // shape[1], 1)
    for top in range(0, shape[0], step):
        rows = np.arange(top, min(top + step, shape[0]))
        canvas[top : top + step] = draw_ids(kept.polygons, sizes, rows, columns)
    count = _number(canvas, canvas)
    return Drawn(canvas, covered=kept.count - count, small=kept.small)


def keep_polygons(polygons: Polygons, shape: tuple[int, int], *, min_area_px: int = 0) -> Outlined:
    """The polygons that have so many pixels, at least one, on an image of shape (height, width)."""
    kept = np.flatnonzero(pixel_areas(polygons, shape) >= max(min_area_px, 1))
    return Outlined(polygons.take(kept), small=len(polygons) - len(kept))


def outline_of_mask(mask: Mask) -> Outline:
    """These pixels as polygons: one rectangle a run of pixels of a row."""
    edges = np.diff(np.pad(mask.pixels, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    stops = np.nonzero(edges == -1)[1]
    rows, starts, stops = rows + mask.y0, starts + mask.x0, stops + mask.x0
    return rectangles(rows, starts, rows + 1, stops)


def rectangles(y0: Ids, x0: Ids, y1: Ids, x1: Ids) -> Outline:
    """One polygon for each of n half-open boxes of pixels."""
    corners = np.stack([[y0, x0], [y0, x1], [y1, x1], [y1, x0]]).transpose(2, 0, 1)
    return [[ring] for ring in corners.astype(np.float64)]


def draw(masks: Iterable[Mask], shape: tuple[int, int], *, min_area_px: int = 0) -> Drawn:
    """The instance map of masks that may overlap, on an image of shape (height, width)."""
    everything = list(masks)
    areas = np.array([mask.area_px for mask in everything], np.int64)
    kept = np.flatnonzero(areas >= max(min_area_px, 1))
    canvas = np.zeros(shape, id_dtype(len(everything)))
    for index in kept[np.argsort(-areas[kept], kind="stable")]:
        mask = everything[index]
        height, width = mask.pixels.shape
        canvas[mask.y0 : mask.y0 + height, mask.x0 : mask.x0 + width][mask.pixels] = index + 1
    count = _number(canvas, canvas)
    return Drawn(canvas, covered=len(kept) - count, small=len(everything) - len(kept))


def drawn_ids(ids: npt.NDArray[np.int64], *, min_area_px: int = 0) -> Drawn:
    """The instance map of an image of ids, 0 background, any other ids."""
    if not min_area_px:
        return Drawn(number(ids))
    values, inverse, areas = np.unique(ids, return_inverse=True, return_counts=True)
    small = (areas < min_area_px) & (values != 0)
    kept = np.where(small[inverse.reshape(ids.shape)], 0, ids)
    return Drawn(number(kept), small=int(small.sum()))


def number(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.unsignedinteger]:
    """Renumber ids (H, W) 1..n in raster order of their first pixel; 0 stays 0.

    >>> number(np.array([[0, 9, 9], [4, 0, 9]])).tolist()
    [[0, 1, 1], [2, 0, 1]]
    """
    numbered = np.empty(ids.shape, np.uint32)
    return numbered.astype(id_dtype(_number(ids, numbered)), copy=False)


def id_dtype(count: int) -> type[np.unsignedinteger]:
    """What holds so many ids."""
    return np.uint16 if count < 2**16 else np.uint32


@compiled
def _number(ids, out):  # type: ignore[no-untyped-def]
    """Write the numbers of ids into `out`, which may be `ids`; return how many there are."""
    names = {np.int64(0): np.int64(0)}
    for y in range(ids.shape[0]):
        before, name = np.int64(0), np.int64(0)
        for x in range(ids.shape[1]):
            value = np.int64(ids[y, x])
            if value != before:
                if value not in names:
                    names[value] = np.int64(len(names))
                before, name = value, names[value]
            out[y, x] = name
    return len(names) - 1
