"""Generated slides hold what the demo, the tests and the benchmarks rely on."""

import cv2
import numpy as np
import pytest

from nucleipel.data.synthetic import Scene, build_scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return build_scene((600, 900), seed=3)


def test_same_seed_same_bytes(scene: Scene) -> None:
    again = build_scene((600, 900), seed=3)
    assert np.array_equal(again.image, scene.image)
    assert np.array_equal(again.instance_map, scene.instance_map)
    assert not np.array_equal(build_scene((600, 900), seed=4).image, scene.image)


def test_ids_run_in_raster_order_without_gaps(scene: Scene) -> None:
    ids, first = np.unique(scene.instance_map, return_index=True)
    assert ids.tolist() == list(range(len(ids)))
    assert (np.diff(first[1:]) > 0).all()
    assert scene.instance_map.dtype == np.uint32


def test_each_nucleus_is_one_piece(scene: Scene) -> None:
    for nucleus in range(1, int(scene.instance_map.max()) + 1):
        pieces, _ = cv2.connectedComponents(
            (scene.instance_map == nucleus).astype(np.uint8), connectivity=8
        )
        assert pieces == 2, nucleus


def test_many_nuclei_of_many_sizes_touch(scene: Scene) -> None:
    count = int(scene.instance_map.max())
    foreground = (scene.instance_map > 0).astype(np.uint8)
    clumps, clump_map = cv2.connectedComponents(foreground, connectivity=8)
    members = [len(np.unique(scene.instance_map[clump_map == clump])) for clump in range(1, clumps)]
    touching = sum(size for size in members if size > 1)
    assert count > 200
    assert 0.2 * count < touching < 0.8 * count
    areas = np.bincount(scene.instance_map.ravel())[1:]
    diameters = 2 * np.sqrt(areas / np.pi)
    assert np.percentile(diameters, 5) < 12
    assert np.percentile(diameters, 95) > 22


def test_nuclei_are_darker_and_glass_is_empty(scene: Scene) -> None:
    gray = scene.image.mean(axis=-1)
    glass = cv2.erode((gray > 235).astype(np.uint8), np.ones((9, 9))).astype(bool)
    assert 0.05 < glass.mean() < 0.4
    assert (scene.instance_map[glass] == 0).all()
    tissue = (scene.instance_map == 0) & ~cv2.dilate(
        glass.astype(np.uint8), np.ones((31, 31))
    ).astype(bool)
    assert gray[scene.instance_map > 0].mean() < gray[tissue].mean() - 30


@pytest.mark.parametrize("shape", [(64, 64), (96, 160), (33, 500)])
def test_small_scenes_hold_nuclei(shape: tuple[int, int]) -> None:
    scene = build_scene(shape, seed=0, glass=False)
    assert scene.image.shape == (*shape, 3)
    assert scene.instance_map.shape == shape
    assert scene.instance_map.max() >= 2
    assert (scene.image.mean(axis=-1) > 240).mean() < 0.05
