"""A gray image shown as if stained keeps its shapes, and its nuclei take up the dye."""

import numpy as np
import pytest

from nucleipel.data.artificial_staining import as_nuclear_dye, as_stained, is_gray
from nucleipel.data.augment import Augment
from nucleipel.data.synthetic import build_scene

DISC = np.hypot(*(np.mgrid[:64, :64] - 32)) < 12
INSTANCES = DISC.astype(np.int32)


def _gray(nucleus: float, background: float) -> np.ndarray:
    plane = np.where(DISC, nucleus, background) + np.random.default_rng(1).normal(0, 0.02, (64, 64))
    return np.repeat(np.clip(plane, 0, 1).astype(np.float32)[..., None], 3, axis=2)


@pytest.mark.parametrize(
    "image", [_gray(0.8, 0.1), _gray(0.3, 0.9)], ids=["fluorescence", "bright field"]
)
@pytest.mark.parametrize("seed", range(5))
def test_nuclei_become_dark_on_a_light_ground(image: np.ndarray, seed: int) -> None:
    stained = as_stained(image, np.random.default_rng(seed))
    assert stained.shape == image.shape
    assert stained.dtype == np.float32
    assert 0 <= stained.min() <= stained.max() <= 1
    red = stained[..., 0]  # eosin hardly absorbs it
    assert red[~DISC].mean() - red[DISC].mean() > 0.4
    assert not is_gray(stained)


def _show(image: np.ndarray, share: float, seed: int) -> np.ndarray:
    augment = Augment(rotate_degrees=0, intensity=0, stain=0, gray_stained=share)
    return augment(image, INSTANCES, seed=seed)[0]


def test_the_share_of_gray_images_is_that_of_the_setting() -> None:
    image = _gray(0.8, 0.1)
    colored = [not is_gray(_show(image, 0.3, seed)) for seed in range(200)]
    assert 40 <= sum(colored) <= 80
    assert all(is_gray(_show(image, 0, seed)) for seed in range(20))
    assert np.array_equal(_show(image, 1, 3), _show(image, 1, 3))


def test_color_stays_as_it_is() -> None:
    image = _gray(0.3, 0.9)
    image[..., 1] *= 0.5
    shown = _show(image, 1, 0)
    assert sorted(shown.ravel()) == sorted(image.ravel()), "moved, and nothing else"
    single = image[..., :1]
    assert _show(single, 1, 0).shape == single.shape


def test_color_becomes_the_gray_of_its_dye_and_gray_stays() -> None:
    scene = build_scene((100, 130), seed=3, glass=False)  # no multiple of the dye's cells
    color = scene.image.astype(np.float32) / 255
    shown = as_nuclear_dye(color)
    assert shown.shape == color.shape
    assert is_gray(shown)
    nuclei = scene.instance_map > 0
    assert np.median(shown[nuclei]) > 4 * np.median(shown[~nuclei]) + 0.1

    none = {"rotate_degrees": 0.0, "intensity": 0.0, "stain": 0.0}
    ids = scene.instance_map[:96, :128]
    for image, changed in ((color, True), (color[..., :1].repeat(3, axis=2), False)):
        window = np.ascontiguousarray(image[:96, :128])
        plain, *_ = Augment(**none)(window, ids, seed=7)
        dyed, moved, _ = Augment(**none, as_dye=1.0)(window, ids, seed=7)
        assert np.array_equal(plain, dyed) != changed
        assert is_gray(dyed)
        assert len(np.unique(moved)) == len(np.unique(ids))


def test_fluorescence_shown_as_stained_may_be_shown_as_its_dye() -> None:
    scene = build_scene((96, 128), seed=3, glass=False)
    nuclei = scene.instance_map > 0
    gray = np.repeat(np.where(nuclei, 0.9, 0.05).astype(np.float32)[..., None], 3, axis=2)
    augment = Augment(0.0, 0.0, 0.0, gray_stained=1.0, as_dye=1.0)
    shown, ids, _ = augment(gray, scene.instance_map, seed=1)
    assert is_gray(shown)
    assert np.median(shown[ids > 0]) > 0.3
    assert np.median(shown[ids == 0]) < 0.1
