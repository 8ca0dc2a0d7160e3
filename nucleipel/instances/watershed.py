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
   strict order too: height, then the lower and the higher of the two peaks. Of these,
   two that stand `concave_persistence` above it stay apart if together they were less
   solid than each (area over that of the convex hull): nuclei are convex, mostly;
5. small and doubtful nuclei dropped, the others numbered in raster order of first pixels.

A watershed with a queue (scikit-image's, say) settles ties by the history of
its heap, so that unrelated pixels elsewhere change a nucleus; this one cannot.

Speed comes from the layout: a component's box lies in flat arrays, row after
row, with a margin between the rows and around them. There a neighbor is a
constant step away and needs no check of bounds, so that each step is a loop
over all pixels without a branch, which compilers turn into vector
instructions. The arrays are made once a window, not once a component.

All that is compiled stands in this one file: numba's cache of a function does
not notice that a function it calls, in another file, has changed.
"""

import numba
import numpy as np

from nucleipel.instances.rule import DROPPED_BITS, SOLIDITY_BITS

ROW = ("area", "first_y", "first_x", "sum_y", "sum_x", "y0", "x0", "y1", "x1", "probability")
"""What `solve_components` measures of a nucleus: sums over its pixels, half-open box."""
AREA, FIRST_Y, FIRST_X, SUM_Y, SUM_X, Y0, X0, Y1, X1, PROBABILITY = range(len(ROW))

_compiled = numba.njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
# what only compiled code calls needs no way in from Python, which takes long to compile
_inner = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
_OUTSIDE, _OWN, _FOREIGN, _SEEN = 0, 1, 2, 4
_NO_KEY = -16
"""Below every key of a pixel, also with 4 bits more."""


@_compiled
def solve_components(  # type: ignore[no-untyped-def]
    labels, chosen, boxes, holes, probabilities, origin, shape,
    fill_holes_px, distance_px, distance_height, channel_height, interior_height,
    weights, persistence, concave_persistence, solidity_gain, min_area_px, min_probability_percent,
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
    holes : (n,) int32
        How many holes each has, of any size.
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
    # a plain 0 would be a type of its own, and what it is given to compiled twice
    count = np.int64(0)
    radius = len(weights) - 1
    room = 0
    for index in range(len(chosen)):
        frame = _frame(boxes[index], radius, distance_px, origin, shape)
        room = max(room, frame[5])
    own = np.empty(room, np.uint8)
    one, two, three = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
    keys, highest = np.empty(room, np.int64), np.empty(room, np.int64)
    for index in range(len(chosen)):
        y0, x0, y1, x1 = boxes[index, 0], boxes[index, 1], boxes[index, 2], boxes[index, 3]
        if (y1 - y0) * (x1 - x0) < min_area_px:
            continue
        frame = _frame(boxes[index], radius, distance_px, origin, shape)
        _set_own(own, frame, labels, y0, x0, chosen[index])
        if fill_holes_px > 0 and holes[index] > 0:
            _fill_holes(own, frame, labels, y0, x0, fill_holes_px, keys)
        open_sides = (
            y0 + origin[0] == 0,
            x0 + origin[1] == 0,
            y1 + origin[0] == shape[0],
            x1 + origin[1] == shape[1],
        )
        distance2, height = two, three
        _squared_distance(own, frame, distance_px, open_sides, one, distance2)
        _raw_heights(
            own, frame, distance2, probabilities, y0, x0,
            distance_height, channel_height, interior_height, height,
        )  # fmt: skip
        _smooth(height, frame, weights, one)
        basins, group = _split(
            own, frame, height, distance2, persistence, concave_persistence, solidity_gain,
            min_area_px, one, two, keys, highest,
        )  # fmt: skip
        if count + len(group) > len(rows):
            rows = _longer(rows, 2 * (count + len(group)))
        spans, owners = keys, highest
        found, span_count = _measure(
            basins, frame, group, probabilities, y0, x0, origin, rows, count, spans, owners
        )
        number, kept = _drop(rows, count, found, min_area_px, min_probability_percent)
        if kept > 0:
            _paint(spans[:span_count], owners, number, nuclei, y0, x0)
        count += kept
    return nuclei, rows[:count].copy()


@_inner
def _frame(box, radius, distance_px, origin, shape):  # type: ignore[no-untyped-def]
    """How a box lies in flat arrays: pixel (y, x) at first + y * stride + x.

    Between two rows, and above and below, is a margin that no step of the work
    crosses: the smoothing's `radius`, a neighbor's 1, and at an image edge, where
    the distance to the background is unknown, as far as that is looked for.

    Returns (height, width, stride, first, end, room): `end` after the last row,
    `room` the length of the arrays.
    """
    height, width = np.int64(box[2] - box[0]), np.int64(box[3] - box[1])
    margin = max(radius, 1)
    rim = margin
    if box[1] + origin[1] == 0 or box[3] + origin[1] == shape[1]:
        rim = max(margin, min(distance_px, width + 1) + 1)
    stride = width + rim
    first = margin * stride + rim
    end = first + height * stride
    return height, width, stride, first, end, end + margin * stride + rim


@_inner
def _set_own(own, frame, labels, y0, x0, label):  # type: ignore[no-untyped-def]
    """1 in the flat array where the box at (y0, x0) has the label, 0 elsewhere."""
    height, width, stride, first, _, room = frame
    own[:room] = 0
    for y in range(height):
        line, found = own[first + y * stride :], labels[y0 + y, x0 : x0 + width]
        for x in range(width):
            line[x] = found[x] == label


@_inner
def _fill_holes(own, frame, labels, y0, x0, max_px, stack):  # type: ignore[no-untyped-def]
    """Make holes of up to `max_px` pixels own; one that holds another component stays.

    What is 4-connected to the margin is no hole: beyond the exact box there is
    no pixel of the component.
    """
    height, width, stride, first, end, _ = frame
    for y in range(height):
        for x in range(width):
            at = first + y * stride + x
            if own[at] != _OWN and labels[y0 + y, x0 + x] != 0:
                own[at] = _FOREIGN
    _flood(own, frame, first - stride, stack)
    for at in range(first, end):
        if own[at] == _OUTSIDE:
            size, foreign = _flood(own, frame, at, stack)
            if size <= max_px and not foreign:
                for index in range(size):
                    own[stack[index]] = _OWN
    for at in range(first - stride, end + stride):
        own[at] = own[at] == _OWN


@_inner
def _flood(own, frame, start, stack):  # type: ignore[no-untyped-def]
    """Mark what is not own and 4-connected to a place; leave it on the stack, all of it."""
    stride, low, high = frame[2], frame[3] - frame[2], frame[4] + frame[2]
    foreign = False
    own[start] += _SEEN
    stack[0] = start
    done, size = 0, 1
    while done < size:
        here = stack[done]
        done += 1
        for at in (here - stride, here - 1, here + 1, here + stride):
            if low <= at < high:
                found = own[at]
                if found != _OWN and found < _SEEN:
                    foreign |= found == _FOREIGN
                    own[at] = found + _SEEN
                    stack[size] = at
                    size += 1
    return size, foreign


@_inner
def _squared_distance(  # type: ignore[no-untyped-def]
    own, frame, limit, open_sides, vertical, distance2
):
    """Squared distance (px) to the nearest pixel that is not own, at most `limit` squared.

    Beyond the box nothing is own, except beyond the image (`open_sides`: top,
    left, bottom, right), where nothing is known. Along columns first, in
    `vertical`, then along rows (Saito, Toriwaki 1994).
    """
    _, width, stride, first, end, room = frame
    most = np.int32(limit)
    vertical[:room] = 0
    if open_sides[0]:
        vertical[first - stride : first - stride + width] = limit
    if open_sides[2]:
        vertical[end : end + width] = limit
    for at in range(first, end, stride):
        above, here, mine = vertical[at - stride :], vertical[at:], own[at:]
        for x in range(width):
            here[x] = min(np.int32(above[x] + 1), most) * mine[x]
    longest = np.int32(0)
    for at in range(end - stride, first - 1, -stride):
        below, here = vertical[at + stride :], vertical[at:]
        for x in range(width):
            here[x] = min(here[x], np.int32(below[x] + 1))
            longest = max(longest, here[x])
    size = end - first
    here, out = vertical[first:end], distance2[first:end]
    for index in range(size):
        out[index] = here[index] * here[index]
    here = vertical[first - stride : end]
    for index in range(size + stride):
        here[index] *= here[index]
    if open_sides[1] or open_sides[3]:
        for at in range(first - stride, end, stride):
            vertical[at + width : at + stride] = limit * limit
            if not open_sides[3]:
                vertical[at + width] = 0
            if not open_sides[1]:
                vertical[at + stride - 1] = 0
    # a step that leaves a row on a side without image edge passed a 0 nearer by
    for step in range(1, min(longest, width + 1)):
        left, right = vertical[first - step :], vertical[first + step :]
        more = step * step
        for index in range(size):
            out[index] = min(out[index], np.int32(min(left[index], right[index]) + more))


@_inner
def _raw_heights(  # type: ignore[no-untyped-def]
    own, frame, distance2, probabilities, y0, x0,
    distance_height, channel_height, interior_height, height,
):  # fmt: skip
    """Height of each own pixel before smoothing; 0 elsewhere."""
    rows, width, stride, first, _, room = frame
    height[:room] = 0
    for y in range(rows):
        at = first + y * stride
        mine, out, interior = own[at:], height[at:], probabilities[1, y0 + y, x0 : x0 + width]
        if len(probabilities) > 3:
            channel = probabilities[3, y0 + y, x0 : x0 + width]
            for x in range(width):
                out[x] = (channel_height[channel[x]] + interior_height[interior[x]]) * mine[x]
        else:
            near = distance2[at:]
            for x in range(width):
                out[x] = (distance_height[near[x]] + interior_height[interior[x]]) * mine[x]


@_inner
def _smooth(height, frame, weights, rows):  # type: ignore[no-untyped-def]
    """Smooth heights along rows, then columns; what is not own counts 0.

    Heights that fade towards the border make a component's middle its summit.
    """
    _, _, stride, first, end, room = frame
    rows[:first] = 0
    rows[end:room] = 0
    _convolve(height, rows, first, end, np.int64(1), weights)
    here = rows[first:end]
    for index in range(end - first):
        here[index] >>= DROPPED_BITS
    _convolve(rows, height, first, end, stride, weights)


@_inner
def _convolve(source, out, first, end, step, weights):  # type: ignore[no-untyped-def]
    here, middle = out[first:end], source[first:end]
    weight = weights[0]
    for index in range(end - first):
        here[index] = weight * middle[index]
    for offset in range(1, len(weights)):
        weight = weights[offset]
        before, after = source[first - offset * step :], source[first + offset * step :]
        for index in range(end - first):
            here[index] += weight * (before[index] + after[index])


@_inner
def _split(  # type: ignore[no-untyped-def]
    own, frame, height, distance2, persistence, concave_persistence, solidity_gain, min_area_px,
    parents, basins, keys, highest,
):  # fmt: skip
    """Basins of a component, flat, from 1 by rank of their peaks, and the group of each.

    The last four arguments are room to work in; `basins` may be `distance2`.
    """
    first, end = frame[3], frame[4]
    _forest(own, frame, height, distance2, parents, keys, highest)
    peaks = highest  # no more needed
    count = np.int64(0)
    for at in range(first, end):
        if parents[at] == at:
            peaks[count] = at
            count += 1
    basins[first - frame[2] - 1 : first] = 0
    basins[end : end + frame[2] + 1] = 0
    if count == 1:
        here, mine = basins[first:end], own[first:end]
        for index in range(end - first):
            here[index] = mine[index]
        return basins, np.zeros(1, np.int64)
    order = np.empty(count, np.int64)
    for index in range(count):
        order[index] = -keys[peaks[index]]
    order = _order(order)
    _follow(parents, first, end)
    peak_heights = np.empty(count, np.int64)
    basins[0] = 0
    for index in range(count):
        peak = peaks[order[index]]
        basins[peak] = index + 1
        peak_heights[index] = height[peak]
    for at in range(first, end):
        basins[at] = basins[parents[at]]
    pairs, saddles = _saddles(basins, frame, height, count)
    by_shape = concave_persistence < persistence
    hulls = _hulls(basins, frame, count if by_shape else np.int64(0))
    return basins, _join(
        pairs, saddles, peak_heights, persistence, concave_persistence, solidity_gain,
        min_area_px, hulls,
    )  # fmt: skip


@_inner
def _forest(own, frame, height, distance2, parents, keys, highest):  # type: ignore[no-untyped-def]
    """For each pixel the place of its highest neighbor: its own at a peak, 0 if it is not own.

    A key is (height, squared distance) and 4 bits for the neighbor's place:
    among equals the earliest wins, so these bits fall from 10 for the upper left
    to 0 for the lower right, with 5 for the pixel itself.
    """
    _, _, stride, first, end, _ = frame
    keys[first - stride - 1 : first] = _NO_KEY
    keys[end : end + stride + 1] = _NO_KEY
    size = end - first
    out, heights, near, mine = keys[first:end], height[first:end], distance2[first:end], own[first:]
    for index in range(size):
        key = ((np.int64(heights[index]) << 16) | np.int64(near[index])) << 4
        out[index] = key if mine[index] else np.int64(_NO_KEY)
    start = first - stride
    left, middle, right = keys[start - 1 :], keys[start:], keys[start + 1 :]
    out = highest[start:]
    for index in range(size + 2 * stride):
        out[index] = max(left[index] + 2, max(middle[index] + 1, right[index]))
    above, level, below = highest[first - stride :], highest[first:], highest[first + stride :]
    here = parents[first:end]
    for index in range(size):
        code = max(above[index] + 8, max(level[index] + 4, below[index])) & 15
        there = first + index + (1 - (code >> 2)) * stride + 1 - (code & 3)
        here[index] = there if mine[index] else 0
    parents[0] = 0


@_inner
def _follow(parents, first, end):  # type: ignore[no-untyped-def]
    """Let every pixel point to its peak: from the end and from the start, until nothing moves."""
    moved = True
    while moved:
        moved = False
        for at in range(end - 1, first - 1, -1):
            parent = parents[at]
            further = parents[parent]
            parents[at] = further
            moved |= further != parent
        if moved:
            moved = False
            for at in range(first, end):
                parent = parents[at]
                further = parents[parent]
                parents[at] = further
                moved |= further != parent


@_inner
def _saddles(basins, frame, height, basin_count):  # type: ignore[no-untyped-def]
    """Pairs of basins that touch, by rank, and heights of saddles between them.

    A pair comes more than once, the highest of its saddles among them.
    """
    rows, width, stride, first = frame[:4]
    latest = np.full(basin_count, -1, np.int64)  # of the pairs of each basin
    pairs, saddles = np.empty(4 * basin_count, np.int64), np.empty(4 * basin_count, np.int64)
    count = 0
    steps = (1, stride - 1, stride, stride + 1)
    for y in range(rows):
        at = first + y * stride
        here, below = basins[at:], basins[at + stride - 1 :]
        for x in range(width):
            one = here[x]
            same = one ^ here[x + 1] | one ^ below[x] | one ^ below[x + 1] | one ^ below[x + 2]
            if one == 0 or same == 0:
                continue
            for step in steps:
                other = basins[at + x + step]
                if other == 0 or other == one:
                    continue
                # the lower peak has the higher rank
                low, high = np.int64(max(one, other) - 1), np.int64(min(one, other) - 1)
                pair = (low << 32) | high
                saddle = min(height[at + x], height[at + x + step])
                last = latest[low]
                if last >= 0 and pairs[last] == pair:
                    saddles[last] = max(saddles[last], saddle)
                    continue
                if count == len(pairs):
                    pairs, saddles = _doubled(pairs), _doubled(saddles)
                pairs[count], saddles[count] = pair, saddle
                latest[low] = count
                count += 1
    return pairs[:count], saddles[:count]


@_inner
def _doubled(values):  # type: ignore[no-untyped-def]
    more = np.empty(2 * len(values), np.int64)
    for index in range(len(values)):
        more[index] = values[index]
    return more


@_inner
def _longer(rows, length):  # type: ignore[no-untyped-def]
    more = np.zeros((length, rows.shape[1]), np.int64)
    for index in range(len(rows)):
        for column in range(rows.shape[1]):
            more[index, column] = rows[index, column]
    return more


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
def _hulls(basins, frame, count):  # type: ignore[no-untyped-def]
    """Convex hulls of the first `count` basins, each as its left and its right side.

    A side is a chain of corners (y, x) from the top to the bottom; the right one
    has -x, so that both bend the same way. Returns the corners of all, the first
    and the end of each chain (basin b has 2 b and 2 b + 1), areas of the basins,
    and twice the areas of their hulls.
    """
    rows, width, stride, first = frame[:4]
    if count == 0:
        rows = np.int64(0)
    top, bottom = np.full(count, rows, np.int64), np.zeros(count, np.int64)
    area, twice = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for y in range(rows):
        line = basins[first + y * stride :]
        for x in range(width):
            basin = line[x] - 1
            if basin >= 0:
                area[basin] += 1
                top[basin] = min(top[basin], y)
                bottom[basin] = y + 1
    start = np.zeros(2 * count + 1, np.int64)
    for chain in range(2 * count):
        start[chain + 1] = start[chain] + bottom[chain // 2] - top[chain // 2] + 1
    ys, xs = np.empty(start[-1], np.int64), np.full(start[-1], width, np.int64)
    for y in range(rows):
        line = basins[first + y * stride :]
        for x in range(width):
            basin = line[x] - 1
            if basin >= 0:
                for side, corner in ((0, x), (1, -x - 1)):
                    at = start[2 * basin + side] + y - top[basin]
                    xs[at] = min(xs[at], corner)  # a pixel's upper corner, and its lower one
                    xs[at + 1] = min(xs[at + 1], corner)
    end = np.empty(2 * count, np.int64)
    for chain in range(2 * count):
        begin, stop = start[chain], start[chain + 1]
        for at in range(begin, stop):
            ys[at] = top[chain // 2] + at - begin
        # in place: the chain never grows past the corner that is read
        size, doubled = _bent(ys, xs, begin, stop, stop, stop, begin)
        end[chain] = begin + size
        twice[chain // 2] -= doubled
    return ys, xs, start[:-1].copy(), end, area, twice


@_inner
def _bent(ys, xs, one, one_end, other, other_end, out):  # type: ignore[no-untyped-def]
    """Corners of two chains from top to bottom that no line between others passes on the left.

    They are written from `out` on. Returns how many, and twice the area between them and x = 0.
    """
    size = 0
    while one < one_end or other < other_end:
        if other == other_end or (one < one_end and ys[one] <= ys[other]):
            y, x = ys[one], xs[one]
            if other < other_end and ys[other] == y:
                x = min(x, xs[other])
                other += 1
            one += 1
        else:
            y, x = ys[other], xs[other]
            other += 1
        while size > 1:
            before, last = out + size - 2, out + size - 1
            rise, run = ys[last] - ys[before], xs[last] - xs[before]
            if run * (y - ys[before]) < (x - xs[before]) * rise:
                break
            size -= 1
        ys[out + size], xs[out + size] = y, x
        size += 1
    doubled = np.int64(0)
    for at in range(out + 1, out + size):
        doubled += (xs[at - 1] + xs[at]) * (ys[at] - ys[at - 1])
    return size, doubled


@_inner
def _join(  # type: ignore[no-untyped-def]
    pairs, saddles, peak_heights, persistence, concave_persistence, solidity_gain, min_area_px,
    hulls,
):  # fmt: skip
    """Group of each basin, by rank: the rank of the highest basin that it was joined to.

    Without `hulls` the shape of groups is not looked at.
    """
    ys, xs, begin, end, area, twice = hulls
    used = len(ys)
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
        depth = peak_heights[lower] - saddle
        if one == other or depth >= persistence:
            continue
        if len(area) > 0:
            while used + _corners(begin, end, lower) + _corners(begin, end, higher) > len(ys):
                ys, xs = _doubled(ys), _doubled(xs)
            middle, stop, hull = _hull_of_both(ys, xs, begin, end, lower, higher, used)
            if (
                depth >= concave_persistence
                and min(area[lower], area[higher]) >= min_area_px
                and _solidity_lost(area, twice, lower, higher, hull) >= solidity_gain
            ):
                continue
            begin[2 * higher], end[2 * higher] = used, middle
            begin[2 * higher + 1], end[2 * higher + 1] = middle, stop
            used = stop
            area[higher] += area[lower]
            twice[higher] = hull
        group[lower] = higher
    for basin in range(len(group)):  # groups have lower ranks, so theirs are final already
        group[basin] = group[group[basin]]
    return group


@_inner
def _corners(begin, end, group):  # type: ignore[no-untyped-def]
    """How many corners the hull of a group has, both sides."""
    left, right = 2 * group, 2 * group + 1
    return end[left] - begin[left] + end[right] - begin[right]


@_inner
def _hull_of_both(ys, xs, begin, end, one, other, out):  # type: ignore[no-untyped-def]
    """Write the hull of two groups from `out` on.

    Returns where its left and its right side end, and twice its area.
    """
    low, high = 2 * one, 2 * other
    left, before = _bent(ys, xs, begin[low], end[low], begin[high], end[high], out)
    middle, low, high = out + left, low + 1, high + 1
    right, after = _bent(ys, xs, begin[low], end[low], begin[high], end[high], middle)
    return middle, middle + right, -before - after


@_inner
def _solidity_lost(area, twice, one, other, hull):  # type: ignore[no-untyped-def]
    """By how much two groups are more solid than their union, weighed by area.

    In 2**-`SOLIDITY_BITS`; one bit more, as areas of hulls come doubled.
    """
    bits = SOLIDITY_BITS + 1
    both = area[one] + area[other]
    apart = area[one] * ((area[one] << bits) // twice[one])
    apart += area[other] * ((area[other] << bits) // twice[other])
    return apart // both - (both << bits) // hull


@_inner
def _measure(  # type: ignore[no-untyped-def]
    basins, frame, group, probabilities, y0, x0, origin, rows, count, spans, owners
):
    """Fill a row for each group, from `count` on, in raster order of first pixels.

    Fills `spans`, pieces of pixel rows as y << 32 | x << 16 | length in the box,
    and `owners`, the row of each, counted from `count`. Returns how many rows
    and how many spans there are.
    """
    height, width, stride, first = frame[:4]
    row_of = np.full(len(group), -1, np.int64)
    found, span_count = 0, 0
    for y in range(height):
        line = basins[first + y * stride :]
        doubts = probabilities[0, y0 + y, x0 : x0 + width]
        v = origin[0] + y0 + y
        x = 0
        while x < width:
            basin = line[x]
            if basin == 0:
                x += 1
                continue
            start, doubt = x, np.int64(0)
            while x < width and line[x] == basin:
                doubt += np.int64(doubts[x])
                x += 1
            u, length = origin[1] + x0 + start, x - start
            root = group[basin - 1]
            if row_of[root] < 0:
                row_of[root] = found
                row = rows[count + found]
                row[FIRST_Y], row[FIRST_X], row[Y0], row[X0] = v, u, v, u
                found += 1
            row = rows[count + row_of[root]]
            row[AREA] += length
            row[SUM_Y] += v * length
            row[SUM_X] += (2 * u + length - 1) * length // 2
            row[X0] = min(row[X0], u)
            row[Y1] = v + 1
            row[X1] = max(row[X1], u + length)
            row[PROBABILITY] += 255 * length - doubt
            spans[span_count] = (y << 32) | (start << 16) | length
            owners[span_count] = row_of[root]
            span_count += 1
    return found, span_count


@_inner
def _drop(rows, count, found, min_area_px, min_probability_percent):  # type: ignore[no-untyped-def]
    """Keep the rows, of `found` after `count`, that are large and sure enough, moved up.

    Returns the number from 1 that each has afterwards, 0 if it was dropped, and
    how many were kept.
    """
    number = np.zeros(found, np.int32)
    kept = 0
    for index in range(found):
        row = rows[count + index]
        sure = 100 * row[PROBABILITY] >= min_probability_percent * 255 * row[AREA]
        if sure and row[AREA] >= min_area_px:
            target = rows[count + kept]
            for column in range(rows.shape[1]):
                target[column] = row[column]
            kept += 1
            number[index] = count + kept
    for index in range(count + kept, count + found):
        rows[index, :] = 0
    return number, kept


@_inner
def _paint(spans, owners, number, nuclei, y0, x0):  # type: ignore[no-untyped-def]
    """Write the numbers of kept nuclei over their spans."""
    for index in range(len(spans)):
        value = number[owners[index]]
        if value > 0:
            y, start = spans[index] >> 32, (spans[index] >> 16) & 0xFFFF
            line = nuclei[y0 + y, x0 + start : x0 + start + (spans[index] & 0xFFFF)]
            for x in range(len(line)):
                line[x] = value
