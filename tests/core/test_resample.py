"""Resampling is exact: by hand, by the mean that it keeps, and window by window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleipel.core import resample as resampling
from nucleipel.core.resample import ONE, centers, resample, taps


def _whole(pixels: np.ndarray, ratio: float, shape: tuple[int, int]) -> np.ndarray:
    rows = taps(0, shape[0], ratio=ratio, length=pixels.shape[0])
    columns = taps(0, shape[1], ratio=ratio, length=pixels.shape[1])
    return resample(pixels[rows.start : rows.stop, columns.start : columns.stop], rows, columns)


def test_area_means_by_hand() -> None:
    line = np.array([[10, 20, 40, 80]], np.uint8)[..., None]
    assert _whole(line, 2.0, (1, 2))[0, :, 0].tolist() == [15, 60]
    # at 1.6: (10 + 0.6 * 20) / 1.6 = 13.75; (0.4 * 20 + 40 + 0.2 * 80) / 1.6 = 40
    assert _whole(line, 1.6, (1, 2))[0, :, 0].tolist() == [14, 40]


def test_enlarging_interpolates_between_pixel_centers() -> None:
    line = np.array([[0, 100]], np.uint16)[..., None]
    # centers of the four half pixels lie at -0.25, 0.25, 0.75 and 1.25 px
    assert _whole(line, 0.5, (1, 4))[0, :, 0].tolist() == [0, 25, 75, 100]


def test_whole_blocks_give_their_plain_mean() -> None:
    pixels = np.random.default_rng(0).integers(0, 2**16, (60, 90, 3), np.uint16)
    mean = pixels.reshape(20, 3, 30, 3, 3).mean(axis=(1, 3))
    # weights of a third are rounded to 1 / 65536: at most one gray level of 65536
    assert np.abs(_whole(pixels, 3.0, (20, 30)) - mean).max() <= 1.5


@given(
    start=st.integers(0, 40),
    count=st.integers(1, 20),
    ratio=st.floats(0.5, 9.0),
    length=st.integers(1, 300),
)
def test_weights_sum_to_one_and_stay_on_the_image(
    start: int, count: int, ratio: float, length: int
) -> None:
    last = max(1, round(length / ratio))
    start = min(start, last - 1)
    found = taps(start, min(start + count, last), ratio=ratio, length=length)
    assert (found.weights.sum(axis=1) == ONE).all()
    assert (found.weights >= 0).all()
    assert found.start >= 0
    assert found.stop <= length


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    ratio=st.floats(0.5, 12.0),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_a_window_equals_the_same_window_of_the_whole(
    height: int, width: int, ratio: float, seed: int, data: st.DataObject
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 2**16, (height, width, 2), np.uint16)
    shape = (max(1, round(height / ratio)), max(1, round(width / ratio)))
    y0 = data.draw(st.integers(0, shape[0] - 1))
    x0 = data.draw(st.integers(0, shape[1] - 1))
    y1 = data.draw(st.integers(y0 + 1, shape[0]))
    x1 = data.draw(st.integers(x0 + 1, shape[1]))
    rows = taps(y0, y1, ratio=ratio, length=height)
    columns = taps(x0, x1, ratio=ratio, length=width)
    part = resample(pixels[rows.start : rows.stop, columns.start : columns.stop], rows, columns)
    assert np.array_equal(part, _whole(pixels, ratio, shape)[y0:y1, x0:x1])


@pytest.mark.parametrize("ratio", [0.5, 1.7, 4.0])
def test_a_constant_image_stays_constant(ratio: float) -> None:
    pixels = np.full((37, 41, 1), 65535, np.uint16)
    assert (_whole(pixels, ratio, (round(37 / ratio), round(41 / ratio))) == 65535).all()


def test_centers() -> None:
    assert centers(0, 4, ratio=1.0, length=4).tolist() == [0, 1, 2, 3]
    assert centers(0, 2, ratio=3.0, length=6).tolist() == [1, 4]
    assert centers(0, 4, ratio=0.5, length=2).tolist() == [0, 0, 1, 1]


@settings(max_examples=20, deadline=None)
@given(
    length=st.integers(1, 60),
    ratio=st.floats(0.5, 12.0),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    seed=st.integers(0, 99),
)
def test_numpy_and_compiled_code_have_the_same_sums(
    length: int, ratio: float, dtype: type, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (length, 40, 3), dtype)
    shape = max(1, int(length / ratio)), max(1, int(40 / ratio))
    made = []
    for most in (0, 2**30):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(resampling, "SUMMED_BY_NUMPY", most)
            patched.setattr(resampling, "AT_A_TIME", 500)
            made.append(_whole(pixels, ratio, shape))
    assert np.array_equal(*made)
