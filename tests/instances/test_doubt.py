"""The least sure squares of a map: drawn by hand, and the same however the map is read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nucleipel.instances.doubt as module
from nucleipel.core.geometry import Box
from nucleipel.instances.doubt import CELLS, doubt, doubt_of_cells, most_doubtful


def _map(background: np.ndarray) -> np.ndarray:
    return np.stack([background, 255 - background, np.zeros_like(background)]).astype(np.uint8)


def test_doubt_is_greatest_at_one_half() -> None:
    shown = doubt(_map(np.array([[0, 64, 127, 128, 191, 255]])))
    assert shown.tolist() == [[0, 128, 254, 254, 128, 0]]


def test_the_squares_are_those_of_the_greatest_doubt_and_do_not_overlap() -> None:
    background = np.full((32, 48), 255)
    background[8:24, 4:20] = 128  # a square of four cells, off the left edge
    background[0:8, 40:48] = 100
    sums = doubt_of_cells(_map(background), 4)
    assert sums.shape == (8, 12)
    (first, most), (second, less), *_ = most_doubtful(sums, 5)
    assert first == Box(2, 1, 6, 5)
    assert most == 16 * 16 * 254
    assert second.y0 == 0
    assert second.x1 in (11, 12)
    assert less == 8 * 8 * 200


def test_of_equal_squares_the_upper_left_comes_first_and_certain_ones_never() -> None:
    sums = np.zeros((8, 8), np.int64)
    sums[0, 7] = sums[7, 0] = 5
    squares = most_doubtful(sums, 9)
    assert [square for square, _ in squares] == [Box(0, 4, 4, 8), Box(4, 0, 8, 4)]


def test_what_may_not_be_is_passed_over() -> None:
    sums = np.ones((4, 8), np.int64)
    sums[:, :4] = 2
    assert most_doubtful(sums, 1, lambda square: square.x0 > 3) == [(Box(0, 4, 4, 8), 16)]
    cells = doubt_of_cells(_map(np.full((8, 16), 128)), 4, lambda box: box.x1 > 8)
    assert (cells[:, :2] == 0).all()
    assert (cells[:, 2:] == 16 * 254).all()


def test_an_image_smaller_than_a_square_is_one() -> None:
    assert most_doubtful(np.ones((2, 3), np.int64), 4) == [(Box(0, 0, 2, 3), 6)]
    assert most_doubtful(np.ones((0, 3), np.int64), 4) == []


@given(st.integers(0, 99), st.integers(1, 40), st.integers(1, 9))
def test_it_does_not_matter_how_the_map_is_read(seed: int, block_px: int, cell_px: int) -> None:
    draw = np.random.default_rng(seed)
    probabilities = _map(draw.integers(0, 256, (40, 50)))
    whole = doubt_of_cells(probabilities, cell_px)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "BLOCK_PX", block_px)
        assert np.array_equal(doubt_of_cells(probabilities, cell_px), whole)
    squares = [square for square, _ in most_doubtful(whole, 6)]
    drawn = np.zeros(whole.shape, int)
    for square in squares:
        drawn[square.slices] += 1
        assert square.shape == tuple(min(CELLS, length) for length in whole.shape)
    assert drawn.max() <= 1
