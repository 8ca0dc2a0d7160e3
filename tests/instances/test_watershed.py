"""The forest of one component, against a plain implementation of its definition."""

from collections.abc import Collection

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from nucleipel.instances.instance_rule import InstanceRule, IntegerRule
from nucleipel.instances.watershed import _flat_arrays, _frame, _set_own, _split

PATIENT = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@numba.njit
def split(member, height, distance2, rule):
    """Each pixel's group, from 1; 0 where not own."""
    box = np.array([0, 0, member.shape[0], member.shape[1]], np.int32)
    frame = _frame(box, 0, 9, np.ones(2, np.int64), np.array([99, 99]))
    flat = _flat_arrays(frame.room)
    flat.height[:], flat.distance2[:] = 0, 0
    _set_own(flat.own, frame, member, 1)
    for y in range(frame.height):
        for x in range(frame.width):
            flat.height[frame.first + y * frame.stride + x] = height[y, x]
            flat.distance2[frame.first + y * frame.stride + x] = distance2[y, x]
    basins, group = _split(flat, frame, rule)
    groups = np.zeros(member.shape, np.int64)
    for y in range(frame.height):
        for x in range(frame.width):
            basin = basins[frame.first + y * frame.stride + x]
            if basin > 0:
                groups[y, x] = group[basin - 1] + 1
    return groups


def integer_rule(
    persistence: int,
    concave_persistence: int = 10**9,
    solidity_gain: int = 0,
    min_area_px: int = 1,
) -> IntegerRule:
    """Without the last three, shapes do not count."""
    return IntegerRule.of(InstanceRule())._replace(
        persistence=persistence,
        concave_persistence=concave_persistence,
        solidity_gain=solidity_gain,
        min_area_px=min_area_px,
    )


def forest(height: list[list[int]], *, persistence: int) -> list[list[int]]:
    heights = np.array(height, np.int32)
    member, flat = (heights > 0).astype(np.uint8), np.zeros_like(heights)
    return split(member, heights, flat, integer_rule(persistence)).tolist()


def groups(numbered: list[list[int]]) -> list[list[int]]:
    """Renumbered in raster order."""
    names: dict[int, int] = {0: 0}
    return [[names.setdefault(value, len(names)) for value in row] for row in numbered]


@pytest.mark.parametrize(
    ("persistence", "expected"),
    [
        # peaks 5, 4, 9; the saddles are 3 (1 below the 4), then 2 (3 below the 5)
        (0, [1, 1, 2, 2, 3, 3, 0]),
        (1, [1, 1, 2, 2, 3, 3, 0]),
        (2, [1, 1, 1, 1, 2, 2, 0]),
        (3, [1, 1, 1, 1, 2, 2, 0]),
        (4, [1, 1, 1, 1, 1, 1, 0]),
    ],
)
def test_a_ridge_by_hand(persistence: int, expected: list[int]) -> None:
    ridge = [5, 3, 4, 2, 3, 9, 0]
    assert groups(forest([ridge], persistence=persistence)) == [expected]


@st.composite
def height_fields(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which pixels are own, heights and squared distances on a small grid, ties everywhere."""
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    nucleus = random.random(shape) < draw(st.sampled_from([0.4, 0.7, 1.0]))
    top = draw(st.sampled_from([1, 3, 8]))
    height, distance2 = random.integers(0, [[[top + 1]], [[3]]], (2, *shape), np.int32)
    return nucleus.astype(np.uint8), height * nucleus, distance2 * nucleus


Pixel = tuple[int, int]


def solidity(pixels: Collection[Pixel]) -> int:
    """Area over that of the convex hull of the pixels' corners, in 2**-16, rounded down."""
    corners = [(y + down, x + right) for y, x in pixels for down in (0, 1) for right in (0, 1)]
    return (len(pixels) << 17) // round(2 * ConvexHull(corners).volume)


def lost_together(one: Collection[Pixel], other: Collection[Pixel]) -> int:
    """By how much two sets of pixels are more solid than their union, weighed by area."""
    apart = (len(one) * solidity(one) + len(other) * solidity(other)) // (len(one) + len(other))
    return apart - solidity([*one, *other])


@PATIENT
@given(
    height_fields(),
    st.integers(0, 6),
    st.integers(0, 6),
    st.sampled_from([0, 1000, 4000, 10_000]),
    st.sampled_from([1, 3]),
)
def test_forest_is_the_one_of_a_plain_implementation(
    field: tuple[np.ndarray, np.ndarray, np.ndarray],
    persistence: int,
    concave_persistence: int,
    solidity_gain: int,
    min_area_px: int,
) -> None:
    member, height, distance2 = field

    def order(pixel: tuple[int, int]) -> tuple[int, int, int, int]:
        """Larger is higher; of equals the earlier."""
        return int(height[pixel]), int(distance2[pixel]), -pixel[0], -pixel[1]

    def neighbors(pixel: tuple[int, int]) -> list[tuple[int, int]]:
        y, x = pixel
        near = [(v, u) for v in (y - 1, y, y + 1) for u in (x - 1, x, x + 1) if (v, u) != pixel]
        return [other for other in near if other in nucleus]

    def peak_of(pixel: tuple[int, int]) -> tuple[int, int]:
        above = max([pixel, *neighbors(pixel)], key=order)
        return pixel if above == pixel else peak_of(above)

    nucleus = {tuple(map(int, pixel)) for pixel in np.argwhere(member)}
    peaks = {pixel: peak_of(pixel) for pixel in nucleus}
    saddles = {
        (
            -min(int(height[one]), int(height[other])),
            *sorted([peaks[one], peaks[other]], key=order),
        )
        for one in nucleus
        for other in neighbors(one)
        if peaks[one] != peaks[other]
    }
    # the highest saddle of two basins settles whether they are joined, also where a lower one
    # comes when they have grown to another shape
    settling: dict[tuple[Pixel, Pixel], int] = {}
    for depth, one, other in saddles:
        settling[one, other] = min(depth, settling.get((one, other), depth))
    # highest saddle first, then the one of the highest low peak, then of the highest high peak
    ordered = sorted(
        ((depth, *pair) for pair, depth in settling.items()),
        key=lambda saddle: (saddle[0], *(_negative(order(peak)) for peak in saddle[1:])),
    )
    group = {peak: peak for peak in peaks.values()}
    for depth, one, other in ordered:
        lower, higher = sorted([group[one], group[other]], key=order)
        if lower == higher or height[lower] + depth >= persistence:
            continue
        parts = [
            [pixel for pixel, peak in peaks.items() if group[peak] == top]
            for top in (lower, higher)
        ]
        if (
            height[lower] + depth >= concave_persistence
            and min(map(len, parts)) >= min_area_px
            and lost_together(*parts) >= solidity_gain
        ):
            continue
        group = {peak: higher if top == lower else top for peak, top in group.items()}

    rule = integer_rule(persistence, concave_persistence, solidity_gain, min_area_px)
    merged = split(member, height, distance2, rule)
    assert np.array_equal(merged > 0, member > 0)
    found = {pixel: int(merged[pixel]) for pixel in nucleus}
    pairs = {(found[pixel], group[peak]) for pixel, peak in peaks.items()}
    assert len(pairs) == len(set(found.values())) == len(set(group.values()))


def _negative(values: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-value for value in values)
