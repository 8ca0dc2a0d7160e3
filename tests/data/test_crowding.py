"""A crowded window keeps its own nuclei and gets more, each with its id."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleipel.data.augment import Augment
from nucleipel.data.crowding import COVERED, crowded


def _scene(discs: list[tuple[int, int, int]], *, bright: bool) -> tuple[np.ndarray, np.ndarray]:
    """64 x 64 px with discs (y, x, radius), the later ones below the earlier ones."""
    ids = np.zeros((64, 64), np.int32)
    for number, (y, x, radius) in enumerate(discs, 1):
        disc = np.hypot(*(np.mgrid[:64, :64] - np.reshape((y, x), (2, 1, 1)))) <= radius
        ids[disc & (ids == 0)] = number
    shade = (0.8, 0.1) if bright else (0.2, 0.9)
    plane = np.where(ids > 0, *shade).astype(np.float32)
    return np.repeat(plane[..., None], 3, axis=2), ids


@pytest.mark.parametrize("bright", [True, False], ids=["fluorescence", "bright field"])
@pytest.mark.parametrize("seed", range(6))
def test_a_nucleus_comes_again_where_there_is_room(bright: bool, seed: int) -> None:
    image, ids = _scene([(14, 20, 6)], bright=bright)
    shown, both = crowded(image, ids, np.random.default_rng(seed))
    assert np.unique(both).tolist() == [0, 1, 2]
    assert np.array_equal(both == 1, ids == 1)
    assert (both == 2).sum() == (both == 1).sum()
    assert np.array_equal(shown[..., 0], np.where(both > 0, image[14, 20, 0], image[0, 0, 0]))


def test_one_that_would_lie_on_another_is_left_out_and_not_shown() -> None:
    image, ids = _scene([(31, 31, 12)], bright=True)  # every turn of it lies on itself
    shown, both = crowded(image, ids, np.random.default_rng(0))
    assert np.array_equal(both, ids)
    assert np.array_equal(shown, image)


def test_a_touching_neighbor_keeps_its_line() -> None:
    image, ids = _scene([(31, 24, 8)], bright=True)  # half a turn: side by side
    shown, both = crowded(image[:, 8:56], ids[:, 8:56], np.random.default_rng(0))
    first, second = (int((both == i).sum()) for i in (1, 2))
    assert second >= (1 - COVERED) * first
    assert shown[..., 0][both > 0].min() == np.float32(0.8)


discs = st.tuples(st.integers(0, 63), st.integers(0, 63), st.integers(2, 12))


@given(discs=st.lists(discs, max_size=8), seed=st.integers(0, 99), bright=st.booleans())
def test_whatever_it_shows(discs: list[tuple[int, int, int]], seed: int, bright: bool) -> None:
    image, ids = _scene(discs, bright=bright)
    shown, both = crowded(image, ids, np.random.default_rng(seed))
    assert np.array_equal(both[ids > 0], ids[ids > 0]), "its own nuclei keep their ids"
    areas = np.bincount(ids.ravel())[1:]
    for added in np.unique(both[both > ids.max()]):
        area = areas[added - ids.max() - 1]
        assert (1 - COVERED) * area <= (both == added).sum() <= area
    if (ids > 0).mean() < 0.5:
        nucleus = shown[..., 0] > 0.5 if bright else shown[..., 0] < 0.5
        assert np.array_equal(nucleus, both > 0), "what is shown has an id, and the other way round"


def test_the_share_of_gray_images_is_that_of_the_setting() -> None:
    image, ids = _scene([(14, 20, 6)], bright=True)

    def nuclei(image: np.ndarray, share: float, seed: int) -> int:
        augment = Augment(rotate_degrees=0, intensity=0, stain=0, crowded=share)
        return len(np.unique(augment(image, ids, seed=seed)[1])) - 1

    assert 40 <= sum(nuclei(image, 0.3, seed) == 2 for seed in range(200)) <= 80
    assert all(nuclei(image, 0, seed) == 1 for seed in range(20))
    colored = image * np.array([1, 0.5, 1], np.float32)
    assert all(nuclei(colored, 1, seed) == 1 for seed in range(20))
