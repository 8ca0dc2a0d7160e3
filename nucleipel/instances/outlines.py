"""Outlines of nuclei: the line at half height between a nucleus and all else.

The line runs through the middle of every edge between a pixel of the nucleus
and one that is not, as marching squares at 0.5 would draw it (Lorensen and
Cline 1987; pixels that touch at a corner are joined). So

- all centers of the nucleus' pixels lie inside and all others outside: drawn by
  pixel centers, an outline gives back its nucleus exactly;
- rings are closed, never cross or touch themselves or one another: every
  polygon is valid;
- a nucleus that is connected (8-connected) is one polygon, and the area of this
  is that of the pixels less half a pixel, plus half a pixel a hole.

Corners on a straight line are left out.
"""

import numpy as np
import numpy.typing as npt

from nucleipel.core.compiled import compiled, compiled_inner
from nucleipel.core.measured_nuclei import Outline, Ring


def outlines(
    ids: npt.NDArray[np.uint32],
    wanted: npt.NDArray[np.int64],
    boxes: npt.NDArray[np.int64],
    *,
    origin: tuple[int, int] = (0, 0),
) -> list[Outline]:
    """Trace the outlines of some nuclei in a window of an instance map.

    Parameters
    ----------
    ids : (h, w) uint32
        The window.
    wanted : (n,) int64
        Ids of the nuclei.
    boxes : (n, 4) int64
        Half-open boxes (y0, x0, y1, x1) in the window that hold each nucleus whole.
    origin : (y, x)
        Place of the window in the map.

    Returns
    -------
    list of Outline
        One for each nucleus; corners (y, x) in pixels of the map.
    """
    points, ends, counts = _trace(ids, wanted, boxes)
    corners = points / 2 + np.asarray(origin, np.float64)
    rings = np.split(corners, ends[:-1]) if len(ends) else []
    stops = np.cumsum(counts).tolist()
    starts = (np.cumsum(counts) - counts).tolist()
    return [_polygons(rings[start:stop]) for start, stop in zip(starts, stops, strict=True)]


def _polygons(rings: list[Ring]) -> Outline:
    """Put holes into the polygons around them; rings come in order of first pixels."""
    if len(rings) < 2:
        return [rings] if rings else []
    outer = [ring for ring in rings if _twice_area(ring) > 0]
    holes = [ring for ring in rings if _twice_area(ring) < 0]
    polygons = [[ring] for ring in outer]
    for hole in holes:
        around = [i for i, ring in enumerate(outer) if _contains(ring, hole[0])]
        polygons[min(around, key=lambda i: _twice_area(outer[i]))].append(hole)
    return polygons


def _twice_area(ring: Ring) -> float:
    """Twice the area of a ring, positive if it runs counterclockwise in (x, y)."""
    y, x = ring.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def _contains(ring: Ring, point: npt.NDArray[np.float64]) -> bool:
    """Return whether a point inside or outside of a ring, not on it, is inside (even-odd rule)."""
    y, x = ring.T
    next_y, next_x = np.roll(y, -1), np.roll(x, -1)
    crossed = (y > point[0]) != (next_y > point[0])
    rise = np.where(crossed, next_y - y, 1)
    at = x + (point[0] - y) / rise * (next_x - x)
    return bool(np.count_nonzero(crossed & (at > point[1])) % 2)


@compiled
def _trace(ids, wanted, boxes):  # type: ignore[no-untyped-def]
    """Corners (m, 2) int32 of all rings, in half pixels; where each ring ends; rings a nucleus.

    An edge is a pixel of the nucleus and a side of it (0 top, 1 right, 2
    bottom, 3 left) beyond which it is not. It is walked with the nucleus to its
    right, in an image whose y axis points down.
    """
    out_y, out_x = (-1, 0, 1, 0), (0, 1, 0, -1)
    step_y, step_x = (0, 1, 0, -1), (1, 0, -1, 0)
    room = 0
    for index in range(len(wanted)):
        y0, x0, y1, x1 = boxes[index, 0], boxes[index, 1], boxes[index, 2], boxes[index, 3]
        for y in range(y0, y1):
            for x in range(x0, x1):
                if ids[y, x] == wanted[index]:
                    room += (
                        int(y == y0 or ids[y - 1, x] != wanted[index])
                        + int(y == y1 - 1 or ids[y + 1, x] != wanted[index])
                        + int(x == x0 or ids[y, x - 1] != wanted[index])
                        + int(x == x1 - 1 or ids[y, x + 1] != wanted[index])
                    )
    points = np.empty((room, 2), np.int32)
    ends = np.empty(room, np.int64)
    counts = np.zeros(len(wanted), np.int64)
    used = 0
    rings = 0
    for index in range(len(wanted)):
        y0, x0, y1, x1 = boxes[index, 0], boxes[index, 1], boxes[index, 2], boxes[index, 3]
        own = np.zeros((y1 - y0 + 2, x1 - x0 + 2), np.uint8)
        walked = np.zeros(own.shape, np.uint8)
        for y in range(y1 - y0):
            for x in range(x1 - x0):
                own[y + 1, x + 1] = ids[y0 + y, x0 + x] == wanted[index]
        for start_y in range(1, own.shape[0] - 1):
            for start_x in range(1, own.shape[1] - 1):
                if not own[start_y, start_x]:
                    continue
                for start_side in range(4):
                    if own[start_y + out_y[start_side], start_x + out_x[start_side]]:
                        continue
                    if walked[start_y, start_x] & (1 << start_side):
                        continue
                    y, x, side = start_y, start_x, start_side
                    first = used
                    while not walked[y, x] & (1 << side):
                        walked[y, x] |= 1 << side
                        corner_y = 2 * (y - 1 + y0) + 1 + out_y[side]
                        corner_x = 2 * (x - 1 + x0) + 1 + out_x[side]
                        if used - first > 1 and (
                            (points[used - 1, 0] - points[used - 2, 0])
                            * (corner_x - points[used - 1, 1])
                            == (points[used - 1, 1] - points[used - 2, 1])
                            * (corner_y - points[used - 1, 0])
                        ):
                            used -= 1
                        points[used, 0] = corner_y
                        points[used, 1] = corner_x
                        used += 1
                        v, u = y + step_y[side], x + step_x[side]
                        if own[v + out_y[side], u + out_x[side]]:
                            y, x, side = v + out_y[side], u + out_x[side], (side + 3) % 4
                        elif own[v, u]:
                            y, x = v, u
                        else:
                            side = (side + 1) % 4
                    used = _straightened(points, first, used)
                    ends[rings] = used
                    rings += 1
                    counts[index] += 1
    return points[:used].copy(), ends[:rings].copy(), counts


@compiled_inner
def _straightened(points, first, used):  # type: ignore[no-untyped-def]
    """Leave out the last corner of a ring, and its first, where they lie on a straight line."""
    if _in_line(points, used - 2, used - 1, first):
        used -= 1
    if _in_line(points, used - 1, first, first + 1):
        used -= 1
        for at in range(first, used):
            points[at, 0] = points[at + 1, 0]
            points[at, 1] = points[at + 1, 1]
    return used


@compiled_inner
def _in_line(points, one, two, three):  # type: ignore[no-untyped-def]
    return (points[two, 0] - points[one, 0]) * (points[three, 1] - points[two, 1]) == (
        points[two, 1] - points[one, 1]
    ) * (points[three, 0] - points[two, 0])
