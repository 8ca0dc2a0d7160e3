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
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nucleipel.core.compiled import compiled, compiled_inner
from nucleipel.instances.instance_rule import DROPPED_BITS, SOLIDITY_BITS

ROW = ("area", "first_y", "first_x", "sum_y", "sum_x", "y0", "x0", "y1", "x1", "probability")
"""Measurements of a nucleus by `solve_components`: sums over its pixels, half-open box."""
AREA, FIRST_Y, FIRST_X, SUM_Y, SUM_X, Y0, X0, Y1, X1, PROBABILITY = range(len(ROW))

_OUTSIDE, _OWN, _FOREIGN, _SEEN = 0, 1, 2, 4
_NO_KEY = -16
"""Below every key of a pixel, also with 4 bits more."""


class Window(NamedTuple):
    """A part of a map that holds components whole; named tuples are what numba compiles.

    Parameters
    ----------
    labels : (h, w) int32
        Components of the foreground, 0 background.
    probabilities : (3 or 4, h, w) uint8
        Background, interior, boundary and, if it is there, distance.
    origin : (2,) int64
        Place (y, x) of the window in the map.
    shape : (2,) int64
        Height and width of the map, whose edge may cut a nucleus.
    """

    labels: npt.NDArray[np.int32]
    probabilities: npt.NDArray[np.uint8]
    origin: npt.NDArray[np.int64]
    shape: npt.NDArray[np.int64]


class Components(NamedTuple):
    """The components of a window that are to be solved.

    Parameters
    ----------
    labels : (n,) int32
        Their labels in the window.
    boxes : (n, 4) int32
        Their exact boxes (y0, x0, y1, x1) in the window, half-open.
    holes : (n,) int32
        Number of holes in each, of any size.
    """

    labels: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.int32]
    holes: npt.NDArray[np.int32]


@compiled
def solve_components(window, components, rule):  # type: ignore[no-untyped-def]
    """Find the nuclei of some `Components` of a `Window` by an `IntegerRule`.

    Returns
    -------
    nuclei : (h, w) int32
        1..m in order of components, 0 elsewhere.
    rows : (m, 10) int64
        The columns of `ROW`, positions in the map.
    """
    labels, probabilities, origin, shape = window
    nuclei = np.zeros(labels.shape, np.int32)
    rows = np.zeros((max(2 * len(components.labels), 16), len(ROW)), np.int64)
    # a plain 0 has a type of its own, and functions that take it would be compiled twice
    count = np.int64(0)
    radius = len(rule.weights) - 1
    room = 0
    for index in range(len(components.labels)):
        frame = _frame(components.boxes[index], radius, rule.distance_px, origin, shape)
        room = max(room, frame.room)
    flat = _flat_arrays(room)
    for index in range(len(components.labels)):
        box = components.boxes[index]
        if (box[2] - box[0]) * (box[3] - box[1]) < rule.min_area_px:
            continue
        frame = _frame(box, radius, rule.distance_px, origin, shape)
        _set_own(flat.own, frame, labels, components.labels[index])
        if rule.fill_holes_px > 0 and components.holes[index] > 0:
            _fill_holes(flat.own, frame, labels, rule.fill_holes_px, flat.keys)
        open_sides = (
            box[0] + origin[0] == 0,
            box[1] + origin[1] == 0,
            box[2] + origin[0] == shape[0],
            box[3] + origin[1] == shape[1],
        )
        _squared_distance(flat, frame, rule.distance_px, open_sides)
        _raw_heights(flat, frame, probabilities, rule)
        _smooth(flat.height, frame, rule.weights, flat.spare)
        basins, group = _split(flat, frame, rule)
        if count + len(group) > len(rows):
            rows = _longer(rows, 2 * (count + len(group)))
        spans, owners = flat.keys, flat.highest
        measured, span_count = _measure(
            basins, frame, group, probabilities, origin, rows, count, spans, owners
        )
        number, kept = _drop(rows, count, measured, rule)
        if kept > 0:
            _paint(spans[:span_count], owners, number, nuclei, frame)
        count += kept
    return nuclei, rows[:count].copy()


class Frame(NamedTuple):
    """Place of a box in flat arrays: its pixel (y, x) is at `first + y * stride + x`.

    Between two rows, and above and below, is a margin that no step of the work
    crosses: the smoothing's radius, a neighbor's 1, and at an image edge, where
    the distance to the background is unknown, as far as that is searched.

    Parameters
    ----------
    top, left : int
        Place of the box in the window.
    height, width : int
        Its sides.
    stride, first, end : int
        From row to row; place of the first pixel; place after the last row.
    room : int
        Length of the arrays.
    """

    top: np.int64
    left: np.int64
    height: np.int64
    width: np.int64
    stride: np.int64
    first: np.int64
    end: np.int64
    room: np.int64


class FlatArrays(NamedTuple):
    """The arrays in which components are solved, made once a window.

    Parameters
    ----------
    own : (room,) uint8
        1 where a pixel is the component's.
    height, distance2 : (room,) int32
        Heights; squared distances to the background (px).
    spare : (room,) int32
        Results between two steps.
    keys, highest : (room,) int64
        Keys of pixels, the highest of their neighbors; then other intermediate results.
    """

    own: npt.NDArray[np.uint8]
    height: npt.NDArray[np.int32]
    distance2: npt.NDArray[np.int32]
    spare: npt.NDArray[np.int32]
    keys: npt.NDArray[np.int64]
    highest: npt.NDArray[np.int64]


@compiled_inner
def _flat_arrays(room):  # type: ignore[no-untyped-def]
    return FlatArrays(
        np.empty(room, np.uint8),
        np.empty(room, np.int32),
        np.empty(room, np.int32),
        np.empty(room, np.int32),
        np.empty(room, np.int64),
        np.empty(room, np.int64),
    )


@compiled_inner
def _frame(box, radius, distance_px, origin, shape):  # type: ignore[no-untyped-def]
    """Lay out a box of a window at `origin` in a map of `shape`; the smoothing has a `radius`."""
    height, width = np.int64(box[2] - box[0]), np.int64(box[3] - box[1])
    margin = max(radius, 1)
    rim = margin
    if box[1] + origin[1] == 0 or box[3] + origin[1] == shape[1]:
        rim = max(margin, min(distance_px, width + 1) + 1)
    stride = width + rim
    first = margin * stride + rim
    end = first + height * stride
    room = end + margin * stride + rim
    return Frame(np.int64(box[0]), np.int64(box[1]), height, width, stride, first, end, room)


@compiled_inner
def _set_own(own, frame, labels, label):  # type: ignore[no-untyped-def]
    """Set the flat array to 1 where the box has the label, to 0 elsewhere."""
    own[: frame.room] = 0
    for y in range(frame.height):
        line = own[frame.first + y * frame.stride :]
        row = labels[frame.top + y, frame.left : frame.left + frame.width]
        for x in range(frame.width):
            line[x] = row[x] == label


@compiled_inner
def _fill_holes(own, frame, labels, max_px, stack):  # type: ignore[no-untyped-def]
    """Make holes of up to `max_px` pixels own; one that holds another component stays.

    What is 4-connected to the margin is no hole: beyond the exact box there is
    no pixel of the component.
    """
    for y in range(frame.height):
        for x in range(frame.width):
            at = frame.first + y * frame.stride + x
            if own[at] != _OWN and labels[frame.top + y, frame.left + x] != 0:
                own[at] = _FOREIGN
    _flood(own, frame, frame.first - frame.stride, stack)
    for at in range(frame.first, frame.end):
        if own[at] == _OUTSIDE:
            size, foreign = _flood(own, frame, at, stack)
            if size <= max_px and not foreign:
                for index in range(size):
                    own[stack[index]] = _OWN
    for at in range(frame.first - frame.stride, frame.end + frame.stride):
        own[at] = own[at] == _OWN


@compiled_inner
def _flood(own, frame, start, stack):  # type: ignore[no-untyped-def]
    """Mark all that is not own and 4-connected to a place, and leave its places on the stack."""
    stride, low, high = frame.stride, frame.first - frame.stride, frame.end + frame.stride
    foreign = False
    own[start] += _SEEN
    stack[0] = start
    done, size = 0, 1
    while done < size:
        here = stack[done]
        done += 1
        for at in (here - stride, here - 1, here + 1, here + stride):
            if low <= at < high:
                state = own[at]
                if state != _OWN and state < _SEEN:
                    foreign |= state == _FOREIGN
                    own[at] = state + _SEEN
                    stack[size] = at
                    size += 1
    return size, foreign


@compiled_inner
def _squared_distance(flat, frame, limit, open_sides):  # type: ignore[no-untyped-def]
    """Measure squared distances (px) to the nearest pixel not own, at most `limit` squared.

    Beyond the box nothing is own, except beyond the image (`open_sides`: top,
    left, bottom, right), where nothing is known. Along columns first, then
    along rows (Saito, Toriwaki 1994).
    """
    own, vertical, distance2 = flat.own, flat.spare, flat.distance2
    width, stride, first, end, room = (
        frame.width, frame.stride, frame.first, frame.end, frame.room,
    )  # fmt: skip
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


@compiled_inner
def _raw_heights(flat, frame, probabilities, rule):  # type: ignore[no-untyped-def]
    """Set the height of each own pixel before smoothing; 0 elsewhere."""
    own, height, distance2 = flat.own, flat.height, flat.distance2
    distance_height, channel_height = rule.distance_height, rule.channel_height
    interior_height, width = rule.interior_height, frame.width
    height[: frame.room] = 0
    for y in range(frame.height):
        at = frame.first + y * frame.stride
        v, left = frame.top + y, frame.left
        mine, out, interior = own[at:], height[at:], probabilities[1, v, left : left + width]
        if len(probabilities) > 3:
            channel = probabilities[3, v, left : left + width]
            for x in range(width):
                out[x] = (channel_height[channel[x]] + interior_height[interior[x]]) * mine[x]
        else:
            near = distance2[at:]
            for x in range(width):
                out[x] = (distance_height[near[x]] + interior_height[interior[x]]) * mine[x]


@compiled_inner
def _smooth(height, frame, weights, rows):  # type: ignore[no-untyped-def]
    """Smooth heights along rows, then columns; what is not own counts 0.

    Heights that fade towards the border make a component's middle its summit.
    """
    first, end = frame.first, frame.end
    rows[:first] = 0
    rows[end : frame.room] = 0
    _convolve(height, rows, first, end, np.int64(1), weights)
    here = rows[first:end]
    for index in range(end - first):
        here[index] >>= DROPPED_BITS
    _convolve(rows, height, first, end, frame.stride, weights)


@compiled_inner
def _convolve(source, out, first, end, step, weights):  # type: ignore[no-untyped-def]
    """Write the sum of weighted neighbors that lie `step` apart from `source` to `out`."""
    here, middle = out[first:end], source[first:end]
    weight = weights[0]
    for index in range(end - first):
        here[index] = weight * middle[index]
    for offset in range(1, len(weights)):
        weight = weights[offset]
        before, after = source[first - offset * step :], source[first + offset * step :]
        for index in range(end - first):
            here[index] += weight * (before[index] + after[index])


@compiled_inner
def _split(flat, frame, rule):  # type: ignore[no-untyped-def]
    """Split a component: its basins, flat, from 1 by rank of their peaks, and the group of each.

    The basins are written over `flat.distance2`.
    """
    own, height, parents, keys = flat.own, flat.height, flat.spare, flat.keys
    first, end, stride = frame.first, frame.end, frame.stride
    _forest(flat, frame)
    peaks, basins = flat.highest, flat.distance2  # neither is needed any more
    count = np.int64(0)
    for at in range(first, end):
        if parents[at] == at:
            peaks[count] = at
            count += 1
    basins[first - stride - 1 : first] = 0
    basins[end : end + stride + 1] = 0
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
    by_shape = rule.concave_persistence < rule.persistence
    hulls = _hulls(basins, frame, count if by_shape else np.int64(0))
    return basins, _join(pairs, saddles, peak_heights, rule, hulls)


@compiled_inner
def _forest(flat, frame):  # type: ignore[no-untyped-def]
    """Let each pixel point to its highest neighbor (`spare`): to itself at a peak, 0 if not own.

    A key is (height, squared distance) and 4 bits for the neighbor's place:
    among equals the earliest wins, so these bits fall from 10 for the upper left
    to 0 for the lower right, with 5 for the pixel itself.
    """
    own, height, distance2, parents, keys, highest = flat
    stride, first, end = frame.stride, frame.first, frame.end
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


@compiled_inner
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


@compiled_inner
def _saddles(basins, frame, height, basin_count):  # type: ignore[no-untyped-def]
    """Pairs of basins that touch, by rank, and heights of saddles between them.

    A pair comes more than once, the highest of its saddles among them.
    """
    rows, width, stride, first = frame.height, frame.width, frame.stride, frame.first
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


@compiled_inner
def _doubled(values):  # type: ignore[no-untyped-def]
    more = np.empty(2 * len(values), np.int64)
    for index in range(len(values)):
        more[index] = values[index]
    return more


@compiled_inner
def _longer(rows, length):  # type: ignore[no-untyped-def]
    more = np.zeros((length, rows.shape[1]), np.int64)
    for index in range(len(rows)):
        for column in range(rows.shape[1]):
            more[index, column] = rows[index, column]
    return more


@compiled_inner
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


@compiled_inner
def _hulls(basins, frame, count):  # type: ignore[no-untyped-def]
    """Convex hulls of the first `count` basins, each as its left and its right side.

    A side is a chain of corners (y, x) from the top to the bottom; the right one
    has -x, so that both bend the same way. Returns the corners of all, the first
    and the end of each chain (basin b has 2 b and 2 b + 1), areas of the basins,
    and twice the areas of their hulls.
    """
    rows, width, stride, first = frame.height, frame.width, frame.stride, frame.first
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


@compiled_inner
def _bent(ys, xs, one, one_end, other, other_end, out):  # type: ignore[no-untyped-def]
    """Keep the corners of two chains, from top to bottom, that no line passes on the left.

    They are written from `out` on. Returns their number, and twice the area between them and x = 0.
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


@compiled_inner
def _join(pairs, saddles, peak_heights, rule, hulls):  # type: ignore[no-untyped-def]
    """Group basins: for each, by rank, the rank of the highest basin that it was joined to.

    Without `hulls` the shape of groups does not count.
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
        if one == other or depth >= rule.persistence:
            continue
        if len(area) > 0:
            while used + _corners(begin, end, lower) + _corners(begin, end, higher) > len(ys):
                ys, xs = _doubled(ys), _doubled(xs)
            middle, stop, hull = _hull_of_both(ys, xs, begin, end, lower, higher, used)
            if (
                depth >= rule.concave_persistence
                and min(area[lower], area[higher]) >= rule.min_area_px
                and _solidity_lost(area, twice, lower, higher, hull) >= rule.solidity_gain
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


@compiled_inner
def _corners(begin, end, group):  # type: ignore[no-untyped-def]
    """Count the corners of the hull of a group, both sides."""
    left, right = 2 * group, 2 * group + 1
    return end[left] - begin[left] + end[right] - begin[right]


@compiled_inner
def _hull_of_both(ys, xs, begin, end, one, other, out):  # type: ignore[no-untyped-def]
    """Write the hull of two groups from `out` on.

    Returns the ends of its left and right side, and twice its area.
    """
    low, high = 2 * one, 2 * other
    left, before = _bent(ys, xs, begin[low], end[low], begin[high], end[high], out)
    middle, low, high = out + left, low + 1, high + 1
    right, after = _bent(ys, xs, begin[low], end[low], begin[high], end[high], middle)
    return middle, middle + right, -before - after


@compiled_inner
def _solidity_lost(area, twice, one, other, hull):  # type: ignore[no-untyped-def]
    """Solidity that two groups lose in their union: theirs, weighed by area, less the union's.

    In 2**-`SOLIDITY_BITS`; one bit more is kept, as areas of hulls come doubled.
    """
    bits = SOLIDITY_BITS + 1
    both = area[one] + area[other]
    apart = area[one] * ((area[one] << bits) // twice[one])
    apart += area[other] * ((area[other] << bits) // twice[other])
    return apart // both - (both << bits) // hull


@compiled_inner
def _measure(  # type: ignore[no-untyped-def]
    basins, frame, group, probabilities, origin, rows, count, spans, owners
):
    """Fill a row for each group, from `count` on, in raster order of first pixels.

    Fills `spans`, pieces of pixel rows as y << 32 | x << 16 | length in the box,
    and `owners`, the row of each, counted from `count`. Returns the number of
    rows and of spans.
    """
    width, y0, x0 = frame.width, frame.top, frame.left
    row_of = np.full(len(group), -1, np.int64)
    measured, span_count = 0, 0
    for y in range(frame.height):
        line = basins[frame.first + y * frame.stride :]
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
                row_of[root] = measured
                row = rows[count + measured]
                row[FIRST_Y], row[FIRST_X], row[Y0], row[X0] = v, u, v, u
                measured += 1
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
    return measured, span_count


@compiled_inner
def _drop(rows, count, measured, rule):  # type: ignore[no-untyped-def]
    """Keep the rows, of `measured` after `count`, that are large and sure enough, moved up.

    Returns the number from 1 that each has afterwards, 0 if it was dropped, and
    the number of rows kept.
    """
    number = np.zeros(measured, np.int32)
    kept = 0
    for index in range(measured):
        row = rows[count + index]
        sure = 100 * row[PROBABILITY] >= rule.min_probability_percent * 255 * row[AREA]
        if sure and row[AREA] >= rule.min_area_px:
            target = rows[count + kept]
            for column in range(rows.shape[1]):
                target[column] = row[column]
            kept += 1
            number[index] = count + kept
    for index in range(count + kept, count + measured):
        rows[index, :] = 0
    return number, kept


@compiled_inner
def _paint(spans, owners, number, nuclei, frame):  # type: ignore[no-untyped-def]
    """Write the numbers of kept nuclei over their spans."""
    for index in range(len(spans)):
        value = number[owners[index]]
        if value > 0:
            y, x = frame.top + (spans[index] >> 32), frame.left + ((spans[index] >> 16) & 0xFFFF)
            line = nuclei[y, x : x + (spans[index] & 0xFFFF)]
            for at in range(len(line)):
                line[at] = value
