"""Sums over the pixels of nuclei, each from its own pixels in its own box alone.

So a nucleus has the same sums in every window. All but the optical densities are
integers; those are added in raster order.
"""

import numpy as np

from nucleipel.core.compiled import compiled, compiled_inner

SHAPE = (
    "area", "sum_y", "sum_x", "sum_yy", "sum_xx", "sum_xy", "y0", "x0", "y1", "x1",
    "straight", "diagonal", "mixed", "convex",
)  # fmt: skip
"""Columns of `shape_sums`. Sums and box are from the window's origin, the second moments from the
box's; `straight`, `diagonal`, `mixed` count border pixels by their neighbors on the border;
`convex` counts the pixels in the convex hull."""

_FAR = 2**40


@compiled
def shape_sums(ids, wanted, boxes):  # type: ignore[no-untyped-def]
    """Add up the shapes of some nuclei: (n, 14) int64, the columns of `SHAPE`.

    Parameters
    ----------
    ids : (h, w) uint32
        A window of an instance map.
    wanted : (n,) int64
        Ids that lie in it whole; one that has no pixel there gets zeros.
    boxes : (n, 4) int64
        Half-open (y0, x0, y1, x1) in the window that hold each.
    """
    sums = np.zeros((len(wanted), len(SHAPE)), np.int64)
    for index in range(len(wanted)):
        y0, x0, y1, x1 = _tight(ids, wanted[index], boxes[index])
        if y1 == y0:
            continue
        height, width = y1 - y0, x1 - x0
        # a frame of background around the nucleus, so that no neighbor needs a check
        own = np.zeros((height + 2, width + 2), np.uint8)
        row = sums[index]
        for y in range(height):
            for x in range(width):
                if ids[y0 + y, x0 + x] == wanted[index]:
                    own[y + 1, x + 1] = 1
                    row[0] += 1
                    row[1] += y
                    row[2] += x
                    row[3] += y * y
                    row[4] += x * x
                    row[5] += x * y
        row[6], row[7], row[8], row[9] = y0, x0, y1, x1
        row[10], row[11], row[12] = _border(own)
        row[13] = _convex(own)
    return sums


@compiled
def intensity_sums(ids, wanted, boxes, pixels):  # type: ignore[no-untyped-def]
    """Add up values and their squares over nuclei: (n, C, 2) int64.

    `pixels` (h, w, C) unsigned integers are those of the window; the other
    arguments as in `shape_sums`.
    """
    channels = pixels.shape[2]
    sums = np.zeros((len(wanted), channels, 2), np.int64)
    for index in range(len(wanted)):
        y0, x0, y1, x1 = boxes[index, 0], boxes[index, 1], boxes[index, 2], boxes[index, 3]
        for y in range(y0, y1):
            for x in range(x0, x1):
                if ids[y, x] == wanted[index]:
                    for channel in range(channels):
                        value = np.int64(pixels[y, x, channel])
                        sums[index, channel, 0] += value
                        sums[index, channel, 1] += value * value
    return sums


@compiled
def stain_sums(ids, wanted, boxes, pixels, density, unmixing):  # type: ignore[no-untyped-def]
    """Add up the optical densities of stains over nuclei: (n, S) float64.

    `pixels` (h, w, 3) unsigned integers are red, green, blue; `density` (values,)
    the optical density of each value; `unmixing` (3, S) the share of each stain.
    Negative densities count 0.
    """
    stains = unmixing.shape[1]
    sums = np.zeros((len(wanted), stains))
    for index in range(len(wanted)):
        y0, x0, y1, x1 = boxes[index, 0], boxes[index, 1], boxes[index, 2], boxes[index, 3]
        for y in range(y0, y1):
            for x in range(x0, x1):
                if ids[y, x] == wanted[index]:
                    for stain in range(stains):
                        total = 0.0
                        for channel in range(3):
                            total += density[pixels[y, x, channel]] * unmixing[channel, stain]
                        sums[index, stain] += max(total, 0.0)
    return sums


@compiled_inner
def _tight(ids, wanted, box):  # type: ignore[no-untyped-def]
    """Find the exact box of an id inside a box; an empty one where it has no pixel."""
    y0, x0, y1, x1 = box[2], box[3], box[0], box[1]
    for y in range(box[0], box[2]):
        for x in range(box[1], box[3]):
            if ids[y, x] == wanted:
                y0, y1 = min(y0, y), y + 1
                x0, x1 = min(x0, x), max(x1, x + 1)
    return (y0, x0, y1, x1) if y0 < y1 else (box[0], box[1], box[0], box[1])


@compiled_inner
def _border(own):  # type: ignore[no-untyped-def]
    """Count border pixels that add 1, root 2, and half of (1 + root 2) to the perimeter.

    After Benkrid, Crookes, Benkrid (2000), as `skimage.measure.perimeter` has
    it: a pixel is border if one of its four neighbors is not own, and adds
    by the number of its eight neighbors that are border too.
    """
    height, width = own.shape
    border = np.zeros((height, width), np.uint8)
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            around = own[y - 1, x] & own[y + 1, x] & own[y, x - 1] & own[y, x + 1]
            border[y, x] = own[y, x] & (1 - around)
    straight, diagonal, mixed = 0, 0, 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            if not border[y, x]:
                continue
            sides = border[y - 1, x] + border[y + 1, x] + border[y, x - 1] + border[y, x + 1]
            corners = (
                border[y - 1, x - 1] + border[y - 1, x + 1]
                + border[y + 1, x - 1] + border[y + 1, x + 1]
            )  # fmt: skip
            if sides >= 2 and sides <= 3 and corners <= 2:
                straight += 1
            elif (sides == 0 and corners == 2) or (sides == 1 and corners == 3):
                diagonal += 1
            elif sides == 1 and 1 <= corners <= 2:
                mixed += 1
    return straight, diagonal, mixed


@compiled_inner
def _convex(own):  # type: ignore[no-untyped-def]
    """Count pixels whose centers lie in or on the convex hull of the middles of pixels' sides.

    So does `skimage.morphology.convex_hull_image`, in floats. Here positions are
    integers, in half pixels, and y is counted from the top side of the box.
    """
    height, width = own.shape[0] - 2, own.shape[1] - 2
    left = np.full(2 * height + 1, _FAR)
    right = np.full(2 * height + 1, -_FAR)
    for y in range(height):
        first, last = -1, -1
        for x in range(width):
            if own[y + 1, x + 1]:
                first = x if first < 0 else first
                last = x
        if first < 0:
            continue
        for v in range(3):  # the middles of the top side, of left and right, of the bottom side
            half = 1 if v == 1 else 0
            left[2 * y + v] = min(left[2 * y + v], 2 * first - half)
            right[2 * y + v] = max(right[2 * y + v], 2 * last + half)
    starts = _ceilings(left)
    stops = _ceilings(-right)
    count = 0
    for y in range(height):
        count += -stops[2 * y + 1] - starts[2 * y + 1] + 1
    return count


@compiled_inner
def _ceilings(left):  # type: ignore[no-untyped-def]
    """Find, for each row, the first whole pixel not left of the hull of points (row, left)."""
    hull = np.empty(len(left), np.int64)
    size = 0
    for at in range(len(left)):
        if left[at] == _FAR:
            continue
        while size > 1:
            one, two = hull[size - 2], hull[size - 1]
            # the middle one stays only if it is left of the line between the others
            if (left[two] - left[one]) * (at - one) < (left[at] - left[one]) * (two - one):
                break
            size -= 1
        hull[size] = at
        size += 1
    starts = np.zeros(len(left), np.int64)
    for piece in range(size - 1):
        one, two = hull[piece], hull[piece + 1]
        for at in range(one, two + 1):
            length = 2 * (two - one)
            position = left[one] * (two - one) + (left[two] - left[one]) * (at - one)
            starts[at] = -((-position) // length)
    return starts
