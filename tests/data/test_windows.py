"""Windows show every image in proportion, with its annotation, the same each time."""

from collections import Counter

import numpy as np
import pytest
import torch

from nucleipel.data.augment import Augment
from nucleipel.data.sampling_order import item_of
from nucleipel.data.windows import TrainingWindows, ValidationWindows, annotated_images
from nucleipel.io.manifest import read_manifest
from nucleipel.io.slides.slide_reader import SlideReader

STILL = Augment(rotate_degrees=0, intensity=0, stain=0)
LIVELY = Augment(rotate_degrees=30, intensity=1, stain=1)


@pytest.fixture(scope="module")
def images(tiny_set):
    return annotated_images(read_manifest(tiny_set.manifest), SlideReader(channels=3, at_mpp=0.5))


def _windows(images, augment: Augment, **changes) -> TrainingWindows:
    settings = {"window_px": 64, "scale_range": (0.7, 1.4), "channels": 3, "boundary_px": 2}
    return TrainingWindows(images, count=1000, augment=augment, seed=5, **(settings | changes))


def test_every_item_once_a_turn_in_another_order() -> None:
    turns = [[item_of(7 * turn + i, count=7, seed=1) for i in range(7)] for turn in range(3)]
    assert all(sorted(turn) == list(range(7)) for turn in turns)
    assert turns[0] != turns[1] != turns[2]


def test_images_are_seen_in_proportion_to_their_area(images) -> None:
    cells = Counter(cell.image for cell in _windows(images, STILL).cells)
    # 160 x 224, 128 x 128 and 100 x 170 px in windows of 64 px
    assert cells == {0: 3 * 4, 1: 2 * 2, 2: 2 * 3}


def test_groups_share_the_windows_by_the_roots_of_their_areas(images) -> None:
    windows = _windows(images, STILL, groups=[[0, 1], [2]])
    area = Counter({0: 12, 1: 4, 2: 6})  # cells
    seen = Counter(windows.cells[windows._item(number)].image for number in range(22 * 200))
    # within a group by area
    assert seen[0] / seen[1] == pytest.approx(area[0] / area[1], rel=0.02)
    assert (seen[0] + seen[1]) / seen[2] == pytest.approx((16 / 6) ** 0.5, rel=0.02)


def test_a_sample_depends_on_seed_and_number_alone(images) -> None:
    one, other = _windows(images, LIVELY), _windows(images, LIVELY)
    other[3], other[900]
    for left, right in zip(one[17], other[17], strict=True):
        assert torch.equal(left, right)
    assert not torch.equal(one[17].image, one[17 + len(one.cells)].image)


def test_image_and_annotation_move_together(images) -> None:
    """In the generated slides nuclei are darker; that must hold in every augmented window."""
    windows = _windows(images, LIVELY)
    contrast = []
    for number in range(40):
        image, onehot, *_ = windows[number]
        nucleus, background = onehot[1] > 0, onehot[0] > 0
        if nucleus.sum() > 60:
            contrast.append(float(image[:, background].mean() - image[:, nucleus].mean()))
    assert len(contrast) > 20
    assert np.mean(np.array(contrast) > 0) > 0.9


def test_samples_are_what_a_network_takes(images) -> None:
    image, onehot, distance, instance_map = _windows(images, LIVELY)[0]
    assert (image.shape, image.dtype) == ((3, 64, 64), torch.float32)
    assert (onehot.shape, onehot.dtype) == ((3, 64, 64), torch.float32)
    assert (distance.shape, distance.dtype) == ((1, 64, 64), torch.float32)
    assert torch.equal(distance[0] > 0, instance_map > 0)
    assert image.is_contiguous()
    assert 0 <= image.min() <= image.max() <= 1
    assert torch.equal(onehot.sum(dim=0), torch.ones(64, 64))
    assert torch.equal(instance_map > 0, onehot[0] == 0)


def test_one_scale_and_no_jitter_of_values_gives_pixels_of_the_slide(images) -> None:
    image, *_ = _windows(images, STILL, scale_range=(1.0, 1.0))[0]
    values = {
        round(float(v), 5)
        for source in images
        for v in source.intensity.normalize(
            np.arange(256, dtype=np.uint8)[:, None, None].repeat(3, 2)
        ).ravel()
    }
    assert {round(float(v), 5) for v in image.ravel()} <= values


def test_validation_windows_show_everything_up_to_a_limit(images) -> None:
    def windows(limit: int) -> ValidationWindows:
        return ValidationWindows(images, limit=limit, window_px=64, channels=3, boundary_px=2)

    assert len(windows(1000)) == 22
    few = windows(5)
    assert len(few) == 5
    assert {cell.image for cell in few.cells} == {0, 1, 2}


def test_augment_keeps_instances_apart_when_no_background_is_in_sight() -> None:
    ids = np.array([[7] * 8 + [9] * 8] * 16, np.uint32)
    _, moved, _ = STILL(np.zeros((16, 16, 3), np.float32), ids, seed=0)
    assert sorted(np.unique(moved, return_counts=True)[1]) == [128, 128]
    assert moved.min() > 0


def test_augment_can_leave_values_alone(images) -> None:
    pixels = np.random.default_rng(0).random((32, 32, 3)).astype(np.float32)
    moved, *_ = STILL(pixels, np.zeros((32, 32), np.uint32), seed=3)
    assert np.array_equal(np.sort(moved.ravel()), np.sort(pixels.ravel()))
