"""One range per image and channel, the same for all windows; never NaN."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucleipel.core.intensity import IntensityRange, ValueCounts, to_channels

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_range_is_percentiles_of_each_channel() -> None:
    ramp = np.arange(1001, dtype=np.uint16)  # percentile q is 10 q
    pixels = np.stack([ramp, 50_000 + 2 * ramp], axis=-1).reshape(7, 143, 2)
    found = IntensityRange.of_pixels(pixels)
    assert found.low == (10.0, 50_020.0)
    assert found.high == (998.0, 51_996.0)


def test_normalize_by_hand() -> None:
    pixels = np.array([[[5], [10], [12], [20], [255]]], np.uint8)
    normalized = IntensityRange((10.0,), (20.0,)).normalize(pixels)
    assert normalized.dtype == np.float32
    assert normalized.ravel().tolist() == pytest.approx([0, 0, 0.2, 1, 1])


def test_channels_are_normalized_each_with_its_own_range() -> None:
    pixels = np.array([[[10, 100, 0], [20, 200, 3]]], np.uint8)
    normalized = IntensityRange((10, 100, 0), (20, 200, 3)).normalize(pixels)
    assert normalized.tolist() == [[[0, 0, 0], [1, 1, 1]]]


@pytest.mark.parametrize("value", [0, 7, 255])
def test_constant_channel_becomes_zero(value: int) -> None:
    pixels = np.full((5, 6, 1), value, np.uint8)
    assert not IntensityRange.of_pixels(pixels).normalize(pixels).any()


@PATIENT
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(1, 8), st.integers(1, 8), st.sampled_from([1, 3])),
    )
)
def test_always_finite_and_between_0_and_1(pixels: np.ndarray) -> None:
    normalized = IntensityRange.of_pixels(pixels).normalize(pixels)
    assert np.isfinite(normalized).all()
    assert normalized.min() >= 0
    assert normalized.max() <= 1


def test_a_window_looks_as_it_does_in_the_whole_image() -> None:
    image = np.random.default_rng(0).integers(0, 4096, (40, 50, 3), np.uint16)
    whole = IntensityRange.of_pixels(image)
    assert np.array_equal(whole.normalize(image[10:20, 5:25]), whole.normalize(image)[10:20, 5:25])


def test_gray_is_repeated_and_color_is_kept() -> None:
    gray = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    color = to_channels(gray, 3)
    assert color.shape == (2, 3, 3)
    assert all(np.array_equal(color[..., channel], gray[..., 0]) for channel in range(3))
    assert to_channels(color, 3) is color
    assert to_channels(gray, 1) is gray


def test_color_never_becomes_gray_by_itself() -> None:
    with pytest.raises(ValueError, match="3 channels cannot become 1"):
        to_channels(np.zeros((2, 2, 3), np.uint8), 1)


def test_range_follows_its_image_from_gray_to_color() -> None:
    gray = np.random.default_rng(1).integers(0, 256, (9, 9, 1), np.uint8)
    before = IntensityRange.of_pixels(gray)
    assert before.repeated(1) == before
    assert before.repeated(3) == IntensityRange.of_pixels(to_channels(gray, 3))
    assert before.repeated(3).repeated(3) == before.repeated(3)


@PATIENT
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(1, 40), st.sampled_from([1, 3])),
    ),
    st.floats(0, 100),
)
def test_percentiles_of_counts_are_those_of_the_pixels(pixels: np.ndarray, percent: float) -> None:
    half = len(pixels) // 2
    counts = ValueCounts(pixels.shape[1], pixels.dtype)
    counts.add(pixels[half:])
    counts.add(pixels[:half])
    found = counts.percentile(percent)
    assert np.allclose(found, np.percentile(pixels.astype(np.float64), percent, axis=0))
