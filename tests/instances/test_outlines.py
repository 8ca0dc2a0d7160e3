"""Outlines are closed and valid; filled, by pixel centers, they are the nucleus again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import euler_number, label

from nucleipel.core.measured_nuclei import Outline
from nucleipel.instances.outlines import outlines


def _outline(mask: np.ndarray, *, origin: tuple[int, int] = (0, 0)) -> Outline:
    whole = np.array([[0, 0, *mask.shape]])
    (found,) = outlines(mask.astype(np.uint32) * 5, np.array([5]), whole, origin=origin)
    return found


def _drawn(outline: Outline, shape: tuple[int, int]) -> np.ndarray:
    """Which pixel centers lie inside, by the even-odd rule."""
    ys, xs = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, bool)
    for ring in (ring for polygon in outline for ring in polygon):
        for (y, x), (v, u) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if y != v:
                at = x + (ys - y) / (v - y) * (u - x)
                inside ^= ((y > ys) != (v > ys)) & (at > xs)
    return inside


def _area(ring: np.ndarray) -> float:
    y, x = ring.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def test_one_pixel_and_a_square() -> None:
    assert [ring.tolist() for ring in _outline(np.ones((1, 1)))[0]] == [
        [[0, 0.5], [0.5, 1], [1, 0.5], [0.5, 0]]
    ]
    square = np.zeros((5, 6))
    square[1:4, 2:5] = 1
    corners = [[1, 2.5], [1, 4.5], [1.5, 5], [3.5, 5], [4, 4.5], [4, 2.5], [3.5, 2], [1.5, 2]]
    (ring,) = _outline(square)[0]
    assert ring.tolist() == corners
    (moved,) = _outline(square, origin=(100, 1000))[0]
    assert np.array_equal(moved, ring + np.array([100, 1000]))


def test_a_ring_has_its_hole_and_touching_corners_are_one_polygon() -> None:
    mask = np.ones((5, 5))
    mask[2, 2] = 0
    outer, hole = _outline(mask)[0]
    assert (_area(outer), _area(hole)) == (24.5, -0.5)
    (polygon,) = _outline(np.eye(4))
    assert len(polygon) == 1
    assert _area(polygon[0]) == 3.5


def test_two_pieces_are_two_polygons_each_with_its_hole() -> None:
    mask = np.zeros((9, 9))
    mask[:, :] = 1
    mask[1:8, 1:8] = 0
    mask[3:6, 3:6] = 1
    mask[4, 4] = 0
    large, small = _outline(mask)
    assert [_area(ring) for ring in large] == [80.5, -48.5]
    assert [_area(ring) for ring in small] == [8.5, -0.5]


@settings(deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_any_shape_comes_back(mask: np.ndarray) -> None:
    found = _outline(mask)
    assert np.array_equal(_drawn(found, mask.shape), mask)
    assert len(found) == label(mask, connectivity=2).max()
    area = sum(_area(ring) for polygon in found for ring in polygon)
    assert area == mask.sum() - euler_number(mask, connectivity=2) / 2
    rings = [ring for polygon in found for ring in polygon]
    corners = [tuple(corner) for ring in rings for corner in ring]
    assert len(set(corners)) == len(corners), "no ring touches itself or another"
    for polygon in found:
        assert _area(polygon[0]) > 0
        assert all(_area(hole) < 0 for hole in polygon[1:])
    for ring in rings:
        before, after = np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0)
        one, two = ring - before, after - ring
        assert (one[:, 0] * two[:, 1] != one[:, 1] * two[:, 0]).all(), "no corner on a line"


def test_nothing() -> None:
    none = np.zeros((0, 4), np.int64)
    assert outlines(np.zeros((3, 3), np.uint32), np.zeros(0, np.int64), none) == []
    assert _outline(np.zeros((2, 2))) == []


@pytest.mark.parametrize("neighbor", [0, 4])
def test_a_neighbor_is_not_part_of_it(neighbor: int) -> None:
    ids = np.full((4, 4), neighbor, np.uint32)
    ids[1:3, 1:3] = 9
    (found,) = outlines(ids, np.array([9]), np.array([[1, 1, 3, 3]]))
    assert [_area(ring) for ring in found[0]] == [3.5]
