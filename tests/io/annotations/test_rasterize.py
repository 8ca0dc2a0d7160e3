"""Pixels of polygons: by hand, against a slow reference, and the same in any window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleipel.io.annotations.polygons import UNITS, Polygons
from nucleipel.io.annotations.rasterize import contains, covered, draw_ids, pixel_areas

SHAPE = (13, 17)
ROWS, COLUMNS = (np.arange(length) for length in SHAPE)

coordinate = st.integers(-4 * UNITS, 20 * UNITS).map(lambda value: value / UNITS) | st.integers(
    -4, 20
).map(float)
ring = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=7).map(np.array)
outline = st.lists(st.lists(ring, min_size=1, max_size=2), min_size=1, max_size=2)
outlines = st.lists(outline, min_size=1, max_size=5)


def box(y0: float, x0: float, y1: float, x1: float) -> np.ndarray:
    return np.array([(y0, x0), (y0, x1), (y1, x1), (y1, x0)])


def _inside(polygon: list[np.ndarray], y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Whether an odd number of edges crosses the line from each point to the left.

    Points have whole numbers of a 16th of the coordinates' unit: nothing is rounded.
    """
    odd = np.zeros(np.broadcast(y, x).shape, bool)
    for corners in polygon:
        points = np.rint(np.asarray(corners) * (16 * UNITS)).astype(np.int64).tolist()
        for (ya, xa), (yb, xb) in zip(points, points[1:] + points[:1], strict=True):
            crosses = (ya <= y) != (yb <= y)
            left = (y - ya) * (xb - xa) <= (x - xa) * (yb - ya)
            odd ^= crosses & (left if yb > ya else (y - ya) * (xb - xa) >= (x - xa) * (yb - ya))
    return odd


def _reference(area: list[list[np.ndarray]]) -> np.ndarray:
    subs = (2 * np.arange(8) + 1) * UNITS  # 16ths of a pixel, in the points' unit
    y, x = ((np.arange(n)[:, None] * 16 * UNITS + subs).ravel() for n in SHAPE)
    inside = np.zeros((len(y), len(x)), bool)
    for polygon in area:
        inside |= _inside(polygon, y[:, None], x[None])
    return inside.reshape(SHAPE[0], 8, SHAPE[1], 8).sum(axis=(1, 3)) >= 32


@settings(max_examples=100, deadline=None)
@given(outline)
def test_pixels_are_those_of_the_rule(area) -> None:
    polygons = Polygons.of_outlines([area])
    expected = _reference(area)
    assert np.array_equal(covered(polygons, ROWS, COLUMNS), expected)
    assert pixel_areas(polygons, SHAPE).tolist() == [expected.sum()]


@settings(max_examples=200, deadline=None)
@given(outlines, st.data())
def test_a_window_is_a_part_of_the_whole(areas, data) -> None:
    polygons = Polygons.of_outlines(areas)
    sizes = pixel_areas(polygons, SHAPE)
    whole = draw_ids(polygons, sizes, ROWS, COLUMNS)
    for axis in (ROWS, COLUMNS):
        assert axis[0] == 0
    rows, columns = (
        np.array(sorted(data.draw(st.lists(st.sampled_from(axis.tolist()), min_size=1))))
        for axis in (ROWS, COLUMNS)
    )
    assert np.array_equal(draw_ids(polygons, sizes, rows, columns), whole[np.ix_(rows, columns)])
    assert np.array_equal(covered(polygons, rows, columns) > 0,
                          covered(polygons, ROWS, COLUMNS)[np.ix_(rows, columns)])  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(outlines, st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_whole_pixels_moved_are_the_same_pixels(areas, dy: int, dx: int) -> None:
    moved = [
        [[ring + np.array([dy, dx]) for ring in polygon] for polygon in area] for area in areas
    ]
    large = np.full(len(areas), 9)  # sizes that do not depend on the image
    before = draw_ids(Polygons.of_outlines(areas), large, ROWS, COLUMNS)
    after = draw_ids(Polygons.of_outlines(moved), large, ROWS + dy, COLUMNS + dx)
    assert np.array_equal(before, after)


@settings(max_examples=100, deadline=None)
@given(outlines)
def test_the_smaller_wins_then_the_later(areas) -> None:
    polygons = Polygons.of_outlines(areas)
    masks = [covered(polygons.take(np.array([i])), ROWS, COLUMNS) for i in range(len(areas))]
    expected = np.zeros(SHAPE, int)
    for place in sorted(range(len(areas)), key=lambda place: (-masks[place].sum(), place)):
        expected[masks[place]] = place + 1
    assert np.array_equal(draw_ids(polygons, pixel_areas(polygons, SHAPE), ROWS, COLUMNS), expected)


def test_polygons_that_share_an_edge_share_no_pixel_and_leave_none_out() -> None:
    """A square cut along its diagonal: each pixel on the cut has half in either."""
    lower = np.array([(0, 0), (8, 8), (8, 0)])
    upper = np.array([(0, 0), (0, 8), (8, 8)])
    both = [covered(Polygons.of_outlines([[[part]]]), ROWS, COLUMNS) for part in (lower, upper)]
    assert np.array_equal(both[0] | both[1], covered(Polygons.of_outlines([[[box(0, 0, 8, 8)]]]),
                                                     ROWS, COLUMNS))  # fmt: skip
    sub_pixels = Polygons.of_outlines([[[lower * 8]], [[upper * 8]]])
    apart = [covered(sub_pixels.take(np.array([i])), np.arange(64), np.arange(64)) for i in (0, 1)]
    assert (apart[0] ^ apart[1]).sum() > 64 * 64 - 64


def test_parts_are_united_and_holes_are_cut() -> None:
    frame = [box(1, 1, 9, 9), box(3, 3, 7, 7)]
    bar = [box(4, 0, 6, 17)]
    mask = covered(Polygons.of_outlines([[frame, bar]]), ROWS, COLUMNS)
    assert mask[5].all(), "the bar runs through the hole, and over the frame"
    assert not mask[3, 3:7].any()
    assert mask.sum() == 64 - 16 + 2 * 17 - 2 * 4


@given(outline, st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=20))
@settings(deadline=None)
def test_points_lie_inside_by_the_same_rule(area, points) -> None:
    y, x = np.rint(np.array(points) * (16 * UNITS)).astype(np.int64).T
    expected = np.any([_inside(polygon, y, x) for polygon in area], axis=0)
    assert contains(Polygons.of_outlines([area]), np.array(points)).tolist() == expected.tolist()


def test_far_corners_do_not_overflow() -> None:
    far = 2.0**21
    diamond = np.array([(-far, 0.0), (0.0, far), (far, 0.0), (0.0, -far)])
    polygons = Polygons.of_outlines([[[diamond]]])
    assert covered(polygons, ROWS, COLUMNS).all()
    edge = np.arange(2**21 - 40, 2**21 - 20)
    mask = covered(polygons, np.arange(40), edge)
    expected = edge[None] + np.arange(40)[:, None] < 2**21
    assert np.mean(mask == expected) > 0.95
    assert not mask[-1, -1]


@given(outlines, st.data())
def test_taken_areas_are_what_they_were(areas, data) -> None:
    polygons = Polygons.of_outlines(areas)
    chosen = np.array(data.draw(st.lists(st.integers(0, len(areas) - 1))), int)
    few = polygons.take(chosen)
    assert len(few) == len(chosen)
    assert np.array_equal(few.boxes, polygons.boxes[chosen])
    assert np.array_equal(few.centers(), polygons.centers()[chosen])
    for place, source in enumerate(chosen):
        for one, other in zip(few.outline(place), polygons.outline(source), strict=True):
            assert all(map(np.array_equal, one, other))


def test_an_area_without_corners_covers_nothing() -> None:
    polygons = Polygons.of_outlines([[], [[box(1, 1, 3, 3)]], []])
    assert pixel_areas(polygons, SHAPE).tolist() == [0, 4, 0]
    assert polygons.centers()[1].tolist() == [2, 2]
    assert draw_ids(polygons, pixel_areas(polygons, SHAPE), ROWS, COLUMNS).max() == 2


@pytest.mark.parametrize("points", [[], np.empty((0, 2))])
def test_no_areas(points) -> None:
    nothing = Polygons.of_outlines([])
    assert len(nothing) == 0
    assert not covered(nothing, ROWS, COLUMNS).any()
    assert contains(nothing, np.array(points).reshape(-1, 2)).tolist() == []
