"""Each nucleus gets a contrast of its own; a veil is smooth and leaves the order of pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleipel.data.augment import Augment
from nucleipel.data.uneven_light import DIMMEST, GLOW_PX, THICKEST_VEIL, uneven_nuclei, veiled


def _scene(*, bright: bool, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """64 x 64 px with six squares of 12 px, two of which touch."""
    ids = np.zeros((64, 64), np.int32)
    for number, (y, x) in enumerate([(4, 4), (4, 26), (4, 48), (40, 4), (40, 30), (40, 42)], 1):
        ids[y : y + 12, x : x + 12] = number
    level, shade = (0.1, 0.9) if bright else (0.9, 0.2)
    plane = np.where(ids > 0, shade, level).astype(np.float32)
    return np.repeat(plane[..., None], channels, axis=2), ids


def _inner(ids: np.ndarray, number: int) -> tuple[slice, slice]:
    """The pixels of a square that lie 4 px or more inside, where no neighbor is blended in."""
    y, x = (int(axis.min()) for axis in np.nonzero(ids == number))
    return slice(y + 4, y + 8), slice(x + 4, x + 8)


@pytest.mark.parametrize("bright", [True, False], ids=["fluorescence", "bright field"])
@pytest.mark.parametrize("seed", range(5))
def test_each_nucleus_has_a_contrast_of_its_own(bright: bool, seed: int) -> None:
    image, ids = _scene(bright=bright)
    shown = uneven_nuclei(image, ids, np.random.default_rng(seed))
    level, contrast = image[0, 20, 0], image[10, 10, 0] - image[0, 20, 0]
    factors = []
    for number in range(1, 7):
        inside = (shown[_inner(ids, number)] - level) / contrast
        assert inside.max() - inside.min() < 0.01, "one factor for a whole nucleus"
        factors.append(float(inside.mean()))
    assert max(factors) == pytest.approx(1, abs=0.01), "the brightest stays as it was"
    assert min(factors) >= DIMMEST - 0.01
    assert len({round(factor, 3) for factor in factors}) == 6
    assert (shown[..., :1] == shown).all(), "gray stays gray"


def test_nuclei_ten_times_as_bright_as_others_come_up() -> None:
    image, ids = _scene(bright=True)
    ratios = []
    for seed in range(60):
        shown = uneven_nuclei(image, ids, np.random.default_rng(seed))[..., 0] - 0.1
        means = [shown[_inner(ids, number)].mean() for number in range(1, 7)]
        ratios.append(max(means) / min(means))
    assert max(ratios) > 6
    assert min(ratios) < 1.3, "and windows of equal nuclei, too"


def test_a_glow_is_dimmed_with_its_nucleus_and_far_pixels_are_not_touched() -> None:
    ids = np.zeros((64, 96), np.int32)
    ids[24:40, 8:24], ids[24:40, 72:88] = 1, 2
    distance = np.abs(np.arange(96) - 15.5)
    glow = np.exp(-np.maximum(0, np.minimum(distance, distance[::-1]) - 8) / 3)
    image = np.repeat((0.1 + 0.8 * np.tile(glow, (64, 1)))[..., None], 3, 2).astype(np.float32)
    shown = uneven_nuclei(image, ids, np.random.default_rng(1))
    dim = 1 if shown[32, 15, 0] < shown[32, 79, 0] else 2
    profile = shown[32, :48, 0] if dim == 1 else shown[32, :47:-1, 0]
    assert (np.diff(profile[16:40]) < 0.02).all(), "no ring that is brighter than the nucleus"
    far = slice(24 + 2 * GLOW_PX, 72 - 2 * GLOW_PX)
    assert np.allclose(shown[:, far], image[:, far], atol=1e-6)


@pytest.mark.parametrize("fill", [0, 1], ids=["no nucleus", "all nucleus"])
def test_a_window_without_contrast_is_left_as_it_is(fill: int) -> None:
    image = np.random.default_rng(0).random((32, 32, 3), np.float32)
    shown = uneven_nuclei(image, np.full((32, 32), fill), np.random.default_rng(0))
    assert np.array_equal(shown, image)


@given(seed=st.integers(0, 999), bright=st.booleans(), size=st.tuples(*[st.integers(8, 70)] * 2))
def test_whatever_they_show_lies_in_the_range(
    seed: int, bright: bool, size: tuple[int, int]
) -> None:
    draw = np.random.default_rng(seed)
    image = (draw.random((*size, 3)) * (0.4 if bright else 1)).astype(np.float32)
    ids = draw.integers(0, 4, size)
    for shown in (uneven_nuclei(image, ids, draw), veiled(image, draw)):
        assert shown.shape == image.shape
        assert shown.dtype == np.float32
        assert shown.min() >= -1e-6
        assert shown.max() <= 1 + 1e-6


@pytest.mark.parametrize("bright", [True, False], ids=["fluorescence", "bright field"])
@pytest.mark.parametrize("seed", range(5))
def test_a_veil_is_smooth_and_keeps_the_contrast_of_neighbors(bright: bool, seed: int) -> None:
    image, _ = _scene(bright=bright)
    shown = veiled(image, np.random.default_rng(seed))
    moved = (shown - image)[..., 0]
    assert (moved >= 0).all() if bright else (moved <= 0).all()
    thickness = moved / ((1 if bright else 0) - image[..., 0])
    assert thickness.max() <= THICKEST_VEIL + 1e-6
    assert np.abs(np.diff(thickness, axis=0)).max() < 0.05
    assert np.abs(np.diff(thickness, axis=1)).max() < 0.05


def test_shares_are_those_of_the_settings() -> None:
    image, ids = _scene(bright=True)
    plain = {"rotate_degrees": 0, "intensity": 0, "stain": 0}

    def changed(seed: int, image: np.ndarray, **shares: float) -> bool:
        shown = Augment(**plain, **shares)(image, ids, seed=seed)  # type: ignore[arg-type]
        without = Augment(**plain)(image, ids, seed=seed)  # type: ignore[arg-type]
        assert np.array_equal(shown.instance_map, without.instance_map), "nuclei stay in place"
        return not np.allclose(shown.pixels, without.pixels)

    for name in ("uneven", "veiled", "coarse"):
        assert 40 <= sum(changed(seed, image, **{name: 0.3}) for seed in range(200)) <= 80, name
        assert not any(changed(seed, image, **{name: 0.0}) for seed in range(5)), name
    colored = image * np.array([1, 0.5, 1], np.float32)
    assert not any(changed(seed, colored, uneven=1.0) for seed in range(5)), "gray images only"
