"""From one connected component to its nuclei: a function of its own pixels, in integers.

The steps, in this order, on the component's exact box:

1. small holes filled;
2. heights: distance (the map's own channel, or that to the background) and
   interior probability, smoothed inside the component;
3. a steepest-ascent forest: each pixel follows its highest neighbor, under the
   strict order (height, squared distance, earlier raster position), so that no
   tie is left to chance; the pixels that climb to one peak are a basin;
4. basins merged while the lower peak stands less than `persistence` above the
   saddle between them (Edelsbrunner, Letscher, Zomorodian 2002); saddles have a
   strict order too: height, then the lower and the higher of the two peaks;
5. small and doubtful nuclei dropped, the others numbered in raster order of first pixels.

A watershed with a queue (scikit-image's, say) settles ties by the history of
its heap, so that unrelated pixels elsewhere change a nucleus; this one cannot.

All that is compiled stands in this one file: numba's cache of a function does
not notice that a function it calls, in another file, has changed.
"""

import numba
import numpy as np

from nucleipel.instances.rule import DROPPED_BITS

ROW = ("area", "first_y", "first_x", "sum_y", "sum_x", "y0", "x0", "y1", "x1", "probability")
"""What `solve_components` measures of a nucleus: sums over its pixels, half-open box."""
AREA, FIRST_Y, FIRST_X, SUM_Y, SUM_X, Y0, X0, Y1, X1, PROBABILITY = range(len(ROW))

_compiled = numba.njit(cache=True, nogil=True, error_model="numpy")
# what only compiled code calls needs no way in from Python, which takes long to compile
_inner = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
_OUTSIDE, _OWN, _FOREIGN, _SEEN = 0, 1, 2, 4


@_compiled
def solve_components(  # type: ignore[no-untyped-def]
    labels, chosen, boxes, probabilities, origin, shape,
    fill_holes_px, distance_px, distance_height, channel_height, interior_height,
    weights, persistence, min_area_px, min_probability_percent,
):  # fmt: skip
    """Nuclei of some components of a window that holds these whole.

    Parameters
    ----------
    labels : (h, w) int32
        Components of the window's foreground, 0 background.
    chosen : (n,) int32
        Labels to solve.
    boxes : (n, 4) int32
        Their exact boxes (y0, x0, y1, x1) in the window, half-open.
    probabilities : (3 or 4, h, w) uint8
        Background, interior, boundary and, if it is there, distance.
    origin, shape : (2,) int64
        Of the window in the image, and of the image, where a nucleus may be cut
        by the edge.

    The other arguments are the fields of `IntegerRule`.

    Returns
    -------
    nuclei : (h, w) int32
        1..m in order of components, 0 elsewhere.
    rows : (m, 10) int64
        The columns of `ROW`, positions in the image.
    """
    nuclei = np.zeros(labels.shape, np.int32)
    rows = np.zeros((max(2 * len(chosen), 16), len(ROW)), np.int64)
    count = 0
    for index in range(len(chosen)):
        y0, x0, y1, x1 = boxes[index, 0], boxes[index, 1], boxes[index, 2], boxes[index, 3]
        if (y1 - y0) * (x1 - x0) < min_area_px:
            continue
        member = _member(labels, chosen[index], y0, x0, y1, x1)
        if fill_holes_px > 0:
            _fill_holes(member, fill_holes_px)
        open_sides = (
            y0 + origin[0] == 0,
            x0 + origin[1] == 0,
            y1 + origin[0] == shape[0],
            x1 + origin[1] == shape[1],
        )
        distance2 = _squared_distance(member, distance_px, open_sides)
        raw = _raw_heights(
            member, distance2, probabilities, y0, x0, distance_height, channel_height,
            interior_height,
        )  # fmt: skip
        height = _smoothed(raw, weights)
        basins, basin_count = _split(member, height, distance2, persistence)
        if count + basin_count > len(rows):
            rows = _longer(rows, 2 * (count + basin_count))
        count = _measure(
            basins, basin_count, probabilities, y0, x0, origin,
            min_area_px, min_probability_percent, nuclei, rows, count,
        )  # fmt: skip
    return nuclei, rows[:count].copy()


@_inner
def _longer(rows, length):  # type: ignore[no-untyped-def]
    more = np.zeros((length, rows.shape[1]), np.int64)
    for index in range(len(rows)):
        for column in range(rows.shape[1]):
            more[index, column] = rows[index, column]
    return more


@_inner
def _member(labels, label, y0, x0, y1, x1):  # type: ignore[no-untyped-def]
    member = np.empty((y1 - y0, x1 - x0), np.uint8)
    for y in range(y1 - y0):
        for x in range(x1 - x0):
            found = labels[y0 + y, x0 + x]
            member[y, x] = _OWN if found == label else (_OUTSIDE if found == 0 else _FOREIGN)
    return member


@_inner
def _fill_holes(member, max_px):  # type: ignore[no-untyped-def]
    """Make holes of up to `max_px` pixels own; one that holds another component stays.

    What is 4-connected to the edge of the exact box is no hole: beyond that
    edge there is no pixel of the component.
    """
    height, width = member.shape
    stack = np.empty(height * width, np.int32)
    for y in range(height):
        edge_row = y == 0 or y == height - 1
        for x in range(0, width, 1 if edge_row else max(width - 1, 1)):
            _flood(member, y, x, stack)
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            if member[y, x] != _OUTSIDE:
                continue
            size, foreign = _flood(member, y, x, stack)
            if size <= max_px and not foreign:
                for index in range(size):
                    member[stack[index] // width, stack[index] % width] = _OWN
    for y in range(height):
        for x in range(width):
            if member[y, x] != _OWN:
                member[y, x] = _OUTSIDE


@_inner
def _flood(member, y, x, stack):  # type: ignore[no-untyped-def]
    """Mark what is not own and 4-connected to (y, x); leave it on the stack, all of it."""
    height, width = member.shape
    if member[y, x] == _OWN or member[y, x] >= _SEEN:
        return 0, False
    foreign = member[y, x] == _FOREIGN
    member[y, x] += _SEEN
    stack[0] = y * width + x
    done, size = 0, 1
    while done < size:
        v, u = stack[done] // width, stack[done] % width
        done += 1
        for dv, du in ((-1, 0), (0, -1), (0, 1), (1, 0)):
            j, i = v + dv, u + du
            if 0 <= j < height and 0 <= i < width:
                found = member[j, i]
                if found != _OWN and found < _SEEN:
                    foreign |= found == _FOREIGN
                    member[j, i] += _SEEN
                    stack[size] = j * width + i
                    size += 1
    return size, foreign


@_inner
def _squared_distance(member, limit, open_sides):  # type: ignore[no-untyped-def]
    """Squared distance (px) to the nearest pixel that is not own, at most `limit` squared.

    Beyond the box nothing is own, except beyond the image (`open_sides`: top,
    left, bottom, right), where nothing is known.
    """
    height, width = member.shape
    vertical = np.empty((height, width), np.int32)
    for x in range(width):
        vertical[0, x] = (limit if open_sides[0] else 1) if member[0, x] == _OWN else 0
    for y in range(1, height):
        for x in range(width):
            vertical[y, x] = min(vertical[y - 1, x] + 1, limit) if member[y, x] == _OWN else 0
    if not open_sides[2]:
        for x in range(width):
            vertical[height - 1, x] = min(vertical[height - 1, x], 1)
    for y in range(height - 2, -1, -1):
        for x in range(width):
            vertical[y, x] = min(vertical[y, x], vertical[y + 1, x] + 1)
    distance2 = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            if member[y, x] != _OWN:
                continue
            best = vertical[y, x] ** 2
            step = 1
            while step * step < best:
                if x >= step:
                    best = min(best, vertical[y, x - step] ** 2 + step * step)
                elif not open_sides[1]:
                    best = step * step
                if x + step < width:
                    best = min(best, vertical[y, x + step] ** 2 + step * step)
                elif not open_sides[3]:
                    best = min(best, step * step)
                step += 1
            distance2[y, x] = best
    return distance2


@_inner
def _raw_heights(  # type: ignore[no-untyped-def]
    member, distance2, probabilities, y0, x0, distance_height, channel_height, interior_height
):
    """Height of each own pixel before smoothing; 0 elsewhere."""
    height, width = member.shape
    raw = np.zeros((height, width), np.int32)
    has_channel = len(probabilities) > 3
    for y in range(height):
        for x in range(width):
            if member[y, x] != _OWN:
                continue
            if has_channel:
                central = channel_height[probabilities[3, y0 + y, x0 + x]]
            else:
                central = distance_height[distance2[y, x]]
            raw[y, x] = central + interior_height[probabilities[1, y0 + y, x0 + x]]
    return raw


@_inner
def _smoothed(raw, weights):  # type: ignore[no-untyped-def]
    """Heights smoothed along rows, then columns; what is not own counts 0.

    Heights that fade towards the border make a component's middle its summit.
    """
    height, width = raw.shape
    radius = len(weights) - 1
    padded = np.zeros(width + 2 * radius, np.int32)
    rows = np.empty((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            padded[radius + x] = raw[y, x]
            rows[y, x] = weights[0] * raw[y, x]
        for offset in range(1, radius + 1):
            weight = weights[offset]
            for x in range(width):
                rows[y, x] += weight * (padded[x + radius - offset] + padded[x + radius + offset])
        for x in range(width):
            rows[y, x] >>= DROPPED_BITS
    smoothed = np.empty((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            smoothed[y, x] = weights[0] * rows[y, x]
        for offset in range(1, radius + 1):
            weight = weights[offset]
            for v in (y - offset, y + offset):
                if 0 <= v < height:
                    for x in range(width):
                        smoothed[y, x] += weight * rows[v, x]
    return smoothed


@_inner
def _split(member, height, distance2, persistence):  # type: ignore[no-untyped-def]
    """Number the merged basins of a component from 1; returns them and how many there are."""
    parents, peaks = _forest(member, height, distance2)
    columns = member.shape[1]
    flat_height = height.ravel()
    basins = np.zeros(member.shape, np.int32)
    flat = basins.ravel()
    if len(peaks) == 1:
        for at in range(len(flat)):
            if parents[at] >= 0:
                flat[at] = 1
        return basins, 1
    # by rank: the highest peak is basin 1
    keys = np.empty(len(peaks), np.int64)
    for index in range(len(peaks)):
        at = peaks[index]
        keys[index] = -((np.int64(flat_height[at]) << 16) | distance2[at // columns, at % columns])
    ranked = _order(keys)
    peak_heights = np.empty(len(peaks), np.int64)
    for index in range(len(ranked)):
        flat[peaks[ranked[index]]] = index + 1
        peak_heights[index] = flat_height[peaks[ranked[index]]]
    for start in range(len(flat)):
        if parents[start] < 0:
            continue
        top = start
        while flat[top] == 0:
            top = parents[top]
        at = start
        while flat[at] == 0:
            flat[at] = flat[top]
            at = parents[at]
    pairs, saddles = _saddles(basins, height)
    group = _join(pairs, saddles, peak_heights, persistence)
    # number the groups in raster order of first pixels
    number = np.zeros(len(group), np.int32)
    count = 0
    for y in range(basins.shape[0]):
        for x in range(columns):
            if basins[y, x] > 0:
                root = group[basins[y, x] - 1]
                if number[root] == 0:
                    count += 1
                    number[root] = count
                basins[y, x] = number[root]
    return basins, count


@_inner
def _forest(member, height, distance2):  # type: ignore[no-untyped-def]
    """For each pixel the flat index of its highest neighbor (-1: not own); and the peaks."""
    rows, columns = member.shape
    stride = columns + 2
    keys = np.full((rows + 2) * stride, -1, np.int64)
    for y in range(rows):
        for x in range(columns):
            if member[y, x] == _OWN:
                keys[(y + 1) * stride + x + 1] = (np.int64(height[y, x]) << 16) | distance2[y, x]
    parents = np.full(rows * columns, -1, np.int32)
    peaks = np.empty(rows * columns, np.int32)
    count = 0
    for y in range(rows):
        for x in range(columns):
            here = (y + 1) * stride + x + 1
            best = keys[here]
            if best < 0:
                continue
            dy, dx = 0, 0
            # among equals the earliest: a neighbor before this pixel wins a tie, one after loses
            for v, u in ((-1, -1), (-1, 0), (-1, 1), (0, -1)):
                key = keys[here + v * stride + u]
                if key > best or (key == best and dy == 0 and dx == 0):
                    best, dy, dx = key, v, u
            for v, u in ((0, 1), (1, -1), (1, 0), (1, 1)):
                key = keys[here + v * stride + u]
                if key > best:
                    best, dy, dx = key, v, u
            parents[y * columns + x] = (y + dy) * columns + x + dx
            if dy == 0 and dx == 0:
                peaks[count] = y * columns + x
                count += 1
    return parents, peaks[:count].copy()


@_inner
def _saddles(basins, height):  # type: ignore[no-untyped-def]
    """Pairs of basins that touch, by rank, and the height of each saddle between them."""
    rows, columns = basins.shape
    pairs = np.empty(0, np.int64)
    saddles = np.empty(0, np.int64)
    for fill in (False, True):
        count = 0
        for y in range(rows):
            for x in range(columns):
                one = basins[y, x]
                if one == 0:
                    continue
                for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):
                    v, u = y + dy, x + dx
                    if v == rows or u < 0 or u == columns:
                        continue
                    other = basins[v, u]
                    if other == 0 or other == one:
                        continue
                    if fill:
                        # the lower peak has the higher rank
                        low, high = max(one, other) - 1, min(one, other) - 1
                        pairs[count] = (np.int64(low) << 32) | high
                        saddles[count] = min(height[y, x], height[v, u])
                    count += 1
        if not fill:
            pairs = np.empty(count, np.int64)
            saddles = np.empty(count, np.int64)
    return pairs, saddles


@_inner
def _order(keys):  # type: ignore[no-untyped-def]
    """Stable argsort by merging; NumPy's takes seconds to compile."""
    order = np.arange(len(keys))
    other = np.empty_like(order)
    width = 1
    while width < len(keys):
        for start in range(0, len(keys), 2 * width):
            left, right = start, min(start + width, len(keys))
            middle, end = right, min(start + 2 * width, len(keys))
            for at in range(start, end):
                if left < middle and (right == end or keys[order[left]] <= keys[order[right]]):
                    other[at] = order[left]
                    left += 1
                else:
                    other[at] = order[right]
                    right += 1
        order, other = other, order
        width *= 2
    return order


@_inner
def _join(pairs, saddles, peak_heights, persistence):  # type: ignore[no-untyped-def]
    """Group of each basin, by rank: the rank of the highest basin that it was joined to."""
    group = np.arange(len(peak_heights))
    # each pair's highest saddle settles it; then by height, the lower and the higher peak
    by_pair = _order(pairs)
    highest = np.empty(len(pairs), np.int64)
    kept = 0
    for at in by_pair:
        if kept > 0 and pairs[highest[kept - 1]] == pairs[at]:
            if saddles[at] > saddles[highest[kept - 1]]:
                highest[kept - 1] = at
        else:
            highest[kept] = at
            kept += 1
    keys = np.empty(kept, np.int64)
    for index in range(kept):
        keys[index] = -saddles[highest[index]]
    for index in _order(keys):
        pair, saddle = pairs[highest[index]], saddles[highest[index]]
        one, other = pair >> 32, pair & 0xFFFFFFFF
        while group[one] != one:
            group[one] = group[group[one]]
            one = group[one]
        while group[other] != other:
            group[other] = group[group[other]]
            other = group[other]
        lower, higher = max(one, other), min(one, other)
        if one != other and peak_heights[lower] - saddle < persistence:
            group[lower] = higher
    for basin in range(len(group)):  # groups have lower ranks, so theirs are final already
        group[basin] = group[group[basin]]
    return group


@_inner
def _measure(  # type: ignore[no-untyped-def]
    basins, basin_count, probabilities, y0, x0, origin,
    min_area_px, min_probability_percent, nuclei, rows, count,
):  # fmt: skip
    """Write the basins that are large and sure enough as nuclei after the first `count`.

    Returns the new count.
    """
    area = np.zeros(basin_count + 1, np.int64)
    probability = np.zeros(basin_count + 1, np.int64)
    for y in range(basins.shape[0]):
        for x in range(basins.shape[1]):
            area[basins[y, x]] += 1
            probability[basins[y, x]] += 255 - probabilities[0, y0 + y, x0 + x]
    number = np.zeros(basin_count + 1, np.int32)
    for basin in range(1, basin_count + 1):
        sure = 100 * probability[basin] >= min_probability_percent * 255 * area[basin]
        if sure and area[basin] >= min_area_px:
            count += 1
            number[basin] = count
    for y in range(basins.shape[0]):
        for x in range(basins.shape[1]):
            nucleus = number[basins[y, x]]
            if basins[y, x] == 0 or nucleus == 0:
                continue
            nuclei[y0 + y, x0 + x] = nucleus
            at, v, u = nucleus - 1, y + y0 + origin[0], x + x0 + origin[1]
            if rows[at, AREA] == 0:
                rows[at, FIRST_Y], rows[at, FIRST_X] = v, u
                rows[at, Y0], rows[at, X0] = v, u
            rows[at, AREA] += 1
            rows[at, SUM_Y] += v
            rows[at, SUM_X] += u
            rows[at, X0] = min(rows[at, X0], u)
            rows[at, Y1] = v + 1
            rows[at, X1] = max(rows[at, X1], u + 1)
            rows[at, PROBABILITY] += 255 - probabilities[0, y0 + y, x0 + x]
    return count
