"""A region cut along whole pixels: the areas of one image, kept inside a rectangle."""

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.measured_nuclei import Outline
from nucleipel.io.annotations.polygons import Polygons

Points = npt.NDArray[np.float64]


def cut_region(areas: Polygons | None, box: Box) -> Polygons:
    """The parts of areas inside a box of level 0; the box itself where `areas` is None.

    Rings are clipped side by side (Sutherland and Hodgman 1974). What two boxes that
    share a side keep of an area adds up to the area.
    """
    if areas is None:
        y0, x0, y1, x1 = box.y0, box.x0, box.y1, box.x1
        return Polygons.of_outlines([[[np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]], float)]]])
    near = areas.touching((box.y0, box.x0, box.y1, box.x1))
    outlines = [_clipped(areas.outline(place), box) for place in near.tolist()]
    return Polygons.of_outlines(outline for outline in outlines if outline)


def _clipped(outline: Outline, box: Box) -> Outline:
    kept = []
    for polygon in outline:
        rings = [_clip_ring(np.asarray(ring), box) for ring in polygon]
        if len(rings[0]):
            kept.append([ring for ring in rings if len(ring)])
    return kept


def _clip_ring(ring: Points, box: Box) -> Points:
    for axis, limit, sign in ((0, box.y0, 1), (0, box.y1, -1), (1, box.x0, 1), (1, box.x1, -1)):
        ring = _clip_side(ring, axis, limit, sign)
    return ring


def _clip_side(ring: Points, axis: int, limit: int, sign: int) -> Points:
    """Corners of a ring (n, 2) on the inner side of a line: sign * (coordinate - limit) >= 0."""
    inner = sign * (ring[:, axis] - limit)
    kept: list[Points] = []
    for place in range(len(ring)):
        before, here = inner[place - 1], inner[place]
        if (before < 0) != (here < 0):
            part = before / (before - here)
            kept.append(ring[place - 1] + part * (ring[place] - ring[place - 1]))
        if here >= 0:
            kept.append(ring[place])
    return np.array(kept) if len(kept) > 2 else np.empty((0, 2))
