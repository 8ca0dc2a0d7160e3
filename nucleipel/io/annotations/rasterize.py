"""From polygons to pixels, exact to the bit: the convention of every importer and reader.

- **Pixels.** Pixel (0, 0) covers [0, 1) x [0, 1). It is cut into 8 x 8 sub-pixels;
  it belongs to an area when at least half of them, by their centers, are inside.
- **Inside** a polygon is what an odd number of ring crossings surrounds, so an
  inner ring is a hole; crossing outlines follow the same rule. A center on a
  line belongs to the side to its right, or below. An area is the union of its
  polygons.
- **Overlaps.** The smaller nucleus (by its pixels on the image) wins, of two of
  one size the later one.

Any row and column can be drawn alone: a pixel depends on its own indices, on
the polygons and on the image's shape, never on the window it is read in.
"""

import numpy as np
import numpy.typing as npt

from nucleipel.core.compiled import compiled, compiled_inner
from nucleipel.io.annotations.polygons import UNITS, Polygons

SUB_PIXELS = 8
HALF = SUB_PIXELS**2 // 2
PITCH = UNITS // SUB_PIXELS

Indices = npt.NDArray[np.int64]


def pixel_areas(areas: Polygons, shape: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Pixels (n,) of each area on an image of shape (height, width)."""
    out = np.zeros(len(areas), np.int64)
    boxes = areas.boxes
    clipped = np.clip(boxes, 0, np.array([*shape, *shape]))
    _measure(areas.corners, areas.rings, areas.polygons, areas.areas, clipped, out)
    return out


def draw_ids(
    areas: Polygons, sizes: npt.NDArray[np.int64], rows: Indices, columns: Indices
) -> npt.NDArray[np.uint32]:
    """The id, place in `areas` + 1 or 0, of the pixels at ascending rows (h,) and columns (w,).

    `sizes` are the `pixel_areas`; one of size 0 is not drawn.
    """
    ids = np.zeros((len(rows), len(columns)), np.uint32)
    chosen = areas.touching(_cover(rows, columns))
    chosen = chosen[sizes[chosen] > 0]
    # the largest first: what is drawn later covers it
    order = chosen[np.argsort(-sizes[chosen], kind="stable")]
    _draw(
        areas.corners, areas.rings, areas.polygons, areas.areas, areas.boxes, order, rows, columns,
        ids,
    )  # fmt: skip
    return ids


def covered(areas: Polygons, rows: Indices, columns: Indices) -> npt.NDArray[np.bool_]:
    """Mask (h, w) of the areas, at pixels of ascending rows (h,) and columns (w,)."""
    ids = np.zeros((len(rows), len(columns)), np.uint32)
    order = areas.touching(_cover(rows, columns))
    _draw(
        areas.corners, areas.rings, areas.polygons, areas.areas, areas.boxes, order, rows, columns,
        ids,
    )  # fmt: skip
    return ids > 0


def contains(areas: Polygons, points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return whether points (n, 2) of (y, x) px lie inside any of the areas: (n,)."""
    units = np.rint(points * UNITS).astype(np.int64)
    inside = np.zeros(len(points), np.bool_)
    _locate(areas.corners, areas.rings, areas.polygons, areas.areas, areas.boxes, units, inside)
    return inside


def _cover(rows: Indices, columns: Indices) -> tuple[int, int, int, int]:
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


@compiled
def _measure(corners, rings, polygons, areas, boxes, out):  # type: ignore[no-untyped-def]
    for index in range(len(areas) - 1):
        y0, x0, y1, x1 = boxes[index]
        if y0 >= y1 or x0 >= x1:
            continue
        first, last = areas[index], areas[index + 1]
        edges = _edges(corners, rings, polygons, first, last, y0, y1)
        counts = np.empty(x1 - x0 + 1, np.int64)
        steps = np.empty(x1 - x0 + 1, np.int64)
        several = last - first > 1
        near, crossings = np.empty(len(edges), np.int64), np.empty(len(edges), np.int64)
        spans = np.empty((len(edges), 2), np.int64)
        for y in range(y0, y1):
            _count_row(edges, several, y, x0, counts, steps, near, crossings, spans)
            for x in range(x1 - x0):
                out[index] += counts[x] >= HALF


@compiled
def _draw(corners, rings, polygons, areas, boxes, order, rows, columns, ids):  # type: ignore[no-untyped-def]
    for index in order:
        top, left, bottom, right = boxes[index]
        i0, i1 = np.searchsorted(rows, top), np.searchsorted(rows, bottom)
        j0, j1 = np.searchsorted(columns, left), np.searchsorted(columns, right)
        if i0 >= i1 or j0 >= j1:
            continue
        x0, width = columns[j0], columns[j1 - 1] + 1 - columns[j0]
        first, last = areas[index], areas[index + 1]
        edges = _edges(corners, rings, polygons, first, last, rows[i0], rows[i1 - 1] + 1)
        counts, steps = np.empty(width + 1, np.int64), np.empty(width + 1, np.int64)
        several = last - first > 1
        near, crossings = np.empty(len(edges), np.int64), np.empty(len(edges), np.int64)
        spans = np.empty((len(edges), 2), np.int64)
        for i in range(i0, i1):
            if i == i0 or rows[i] != rows[i - 1]:
                _count_row(edges, several, rows[i], x0, counts, steps, near, crossings, spans)
            for j in range(j0, j1):
                if counts[columns[j] - x0] >= HALF:
                    ids[i, j] = index + 1


@compiled
def _locate(corners, rings, polygons, areas, boxes, points, inside):  # type: ignore[no-untyped-def]
    for index in range(len(areas) - 1):
        top, left, bottom, right = boxes[index] * UNITS
        for polygon in range(areas[index], areas[index + 1]):
            for place in range(len(points)):
                y, x = points[place]
                if inside[place] or not (top <= y <= bottom and left <= x <= right):
                    continue
                odd = False
                for ring in range(polygons[polygon], polygons[polygon + 1]):
                    start, stop = rings[ring], rings[ring + 1]
                    for corner in range(start, stop):
                        following = corner + 1 if corner + 1 < stop else start
                        ya, yb = np.int64(corners[corner, 0]), np.int64(corners[following, 0])
                        if (ya <= y) != (yb <= y):
                            xa, xb = np.int64(corners[corner, 1]), np.int64(corners[following, 1])
                            rise = yb - ya
                            side = (x - xa) * rise - (y - ya) * (xb - xa)
                            odd ^= side >= 0 if rise > 0 else side <= 0
                inside[place] |= odd


@compiled_inner
def _edges(corners, rings, polygons, first, last, y0, y1):  # type: ignore[no-untyped-def]
    """Edges (ya, xa, yb, xb, polygon) that reach into the pixel rows y0..y1-1."""
    room = rings[polygons[last]] - rings[polygons[first]]
    edges = np.empty((room, 5), np.int64)
    used = 0
    for polygon in range(first, last):
        for ring in range(polygons[polygon], polygons[polygon + 1]):
            start, stop = rings[ring], rings[ring + 1]
            for corner in range(start, stop):
                following = corner + 1 if corner + 1 < stop else start
                ya, yb = corners[corner, 0], corners[following, 0]
                if ya != yb and max(ya, yb) > y0 * UNITS and min(ya, yb) < y1 * UNITS:
                    edges[used, 0], edges[used, 1] = ya, corners[corner, 1]
                    edges[used, 2], edges[used, 3] = yb, corners[following, 1]
                    edges[used, 4] = polygon
                    used += 1
    return edges[:used]


@compiled_inner
def _count_row(edges, several, y, x0, counts, steps, near, crossings, spans):  # type: ignore[no-untyped-def]
    """Sub-pixels inside, of each pixel of row y from column x0 on, into `counts`."""
    width = len(counts) - 1
    counts[:] = 0
    steps[:] = 0
    low, high, reach = y * UNITS, (y + 1) * UNITS, 0
    for place in range(len(edges)):
        ya, yb = edges[place, 0], edges[place, 2]
        if (ya < high or yb < high) and (ya > low or yb > low):
            near[reach] = place
            reach += 1
    for sub in range(SUB_PIXELS):
        center = (y * SUB_PIXELS + sub) * PITCH + PITCH // 2
        used, crossed = 0, 0
        for number in range(reach):
            place = near[number]
            if (edges[place, 0] <= center) != (edges[place, 2] <= center):
                column = _first_column(edges, place, center) - x0 * SUB_PIXELS
                slot = crossed
                while slot > 0 and crossings[slot - 1] > column:
                    crossings[slot] = crossings[slot - 1]
                    slot -= 1
                crossings[slot] = column
                crossed += 1
            if number == reach - 1 or edges[place, 4] != edges[near[number + 1], 4]:
                for pair in range(0, crossed - 1, 2):
                    start = max(crossings[pair], 0)
                    stop = min(crossings[pair + 1], width * SUB_PIXELS)
                    if start < stop:
                        spans[used, 0], spans[used, 1] = start, stop
                        used += 1
                crossed = 0
        if several:
            used = _united(spans, used)
        for span in range(used):
            start, stop = spans[span]
            here, there = start // SUB_PIXELS, stop // SUB_PIXELS
            if here == there:
                counts[here] += stop - start
            else:
                counts[here] += SUB_PIXELS - start % SUB_PIXELS
                counts[there] += stop % SUB_PIXELS
                steps[here + 1] += SUB_PIXELS
                steps[there] -= SUB_PIXELS
    full = 0
    for x in range(width):
        full += steps[x]
        counts[x] += full


@compiled_inner
def _first_column(edges, place, y):  # type: ignore[no-untyped-def]
    """The first sub-pixel whose center is not left of where an edge crosses height y."""
    ya, xa = edges[place, 0], edges[place, 1]
    rise = edges[place, 2] - ya
    ahead = (xa - PITCH // 2) * rise + (y - ya) * (edges[place, 3] - xa)
    if rise < 0:
        rise, ahead = -rise, -ahead
    return -((-ahead) // (PITCH * rise))


@compiled_inner
def _united(spans, used):  # type: ignore[no-untyped-def]
    """Sort the first `used` spans and join those that touch; returns how many are left."""
    for place in range(1, used):
        start, stop = spans[place, 0], spans[place, 1]
        slot = place
        while slot > 0 and spans[slot - 1, 0] > start:
            spans[slot, 0], spans[slot, 1] = spans[slot - 1, 0], spans[slot - 1, 1]
            slot -= 1
        spans[slot, 0], spans[slot, 1] = start, stop
    left = min(used, 1)
    for place in range(1, used):
        if spans[place, 0] <= spans[left - 1, 1]:
            spans[left - 1, 1] = max(spans[left - 1, 1], spans[place, 1])
        else:
            spans[left, 0], spans[left, 1] = spans[place, 0], spans[place, 1]
            left += 1
    return left
