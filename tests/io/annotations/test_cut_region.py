"""A region cut by rectangles: the parts add up, a hole stays a hole."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nucleipel.core.geometry import Box
from nucleipel.io.annotations.cut_region import cut_region
from nucleipel.io.annotations.polygons import Polygons
from nucleipel.io.annotations.rasterize import covered

SHAPE = (24, 32)
U = np.array([[2, 2], [20, 2], [20, 28], [2, 28], [2, 22], [14, 22], [14, 8], [2, 8]], float)
SQUARE = np.array([[4, 4], [4, 20], [20, 20], [20, 4]], float)
HOLE = np.array([[8, 8], [8, 16], [16, 16], [16, 8]], float)


def _drawn(areas: Polygons) -> np.ndarray:
    y, x = (np.arange(length) for length in SHAPE)
    return np.asarray(covered(areas, y, x))


def test_without_a_region_it_is_the_box() -> None:
    drawn = _drawn(cut_region(None, Box(3, 4, 9, 12)))
    assert drawn.sum() == 6 * 8
    assert drawn[3:9, 4:12].all()


def test_a_hole_stays_and_what_lies_outside_is_gone() -> None:
    areas = Polygons.of_outlines([[[SQUARE, HOLE]], [[SQUARE[:, ::-1] + (0, 200)]]])
    drawn = _drawn(cut_region(areas, Box(0, 0, 12, 32)))
    expected = np.zeros(SHAPE, bool)
    expected[4:12, 4:20] = True
    expected[8:12, 8:16] = False
    assert np.array_equal(drawn, expected)
    assert len(cut_region(areas, Box(0, 24, 24, 32))) == 0


@given(y=st.integers(1, 23), x=st.integers(1, 31))
def test_four_parts_add_up(y: int, x: int) -> None:
    areas = Polygons.of_outlines([[[U]], [[SQUARE, HOLE]]])
    boxes = [Box(0, 0, y, x), Box(0, x, y, 32), Box(y, 0, 24, x), Box(y, x, 24, 32)]
    parts = [_drawn(cut_region(areas, box)) for box in boxes]
    assert np.array_equal(np.logical_or.reduce(parts), _drawn(areas))
    assert np.sum(parts, axis=0).max() == 1
