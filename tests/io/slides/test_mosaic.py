"""Boxes of a slide side by side have the slide's own pixels."""

from pathlib import Path

import numpy as np
import pytest

from nucleipel.core.geometry import Box
from nucleipel.io.slides.mosaic import build_mosaic
from nucleipel.io.slides.slide import Slide, open_slide
from nucleipel.io.slides.write_pyramid import write_pyramid
from nucleipel.io.slides.write_slide import write_slide

BOXES = [Box(8, 16, 24, 32), Box(40, 0, 56, 16), Box(40, 64, 56, 80)]


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)


def test_pixel_for_pixel(tmp_path: Path, pixels: np.ndarray) -> None:
    write_slide(tmp_path / "a.ome.tif", pixels, mpp=0.5)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        mosaic = build_mosaic(slide, BOXES)
        whole = Slide(mosaic.image, mosaic.resolution).read(Box(0, 0, 16, 48))
        part = Slide(mosaic.image, mosaic.resolution).read(Box(3, 10, 9, 40))
    wanted = np.concatenate([pixels[box.slices] for box in BOXES], axis=1)
    np.testing.assert_array_equal(whole, wanted)
    np.testing.assert_array_equal(part, wanted[3:9, 10:40])


def test_level_0_of_a_coarser_working_frame(tmp_path: Path, pixels: np.ndarray) -> None:
    write_slide(tmp_path / "a.ome.tif", pixels, mpp=0.5)
    boxes = [Box(0, 0, 16, 16), Box(16, 24, 32, 40)]
    with open_slide(tmp_path / "a.ome.tif", at_mpp=1.0) as slide:
        mosaic = build_mosaic(slide, boxes)
        assert mosaic.resolution.shape == (16, 32)
        assert mosaic.resolution.source_shape == (32, 64)
        level_0 = Slide(mosaic.image, mosaic.resolution.at_level_0()).read(Box(0, 0, 32, 64))
        working = Slide(mosaic.image, mosaic.resolution).read(Box(0, 0, 16, 32))
        np.testing.assert_array_equal(working[:, 16:], slide.read(boxes[1]))
    np.testing.assert_array_equal(level_0, np.hstack([pixels[:32, :32], pixels[32:64, 48:80]]))


def test_another_level(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    noise = np.random.default_rng(1).integers(0, 255, (1100, 1100, 3), np.uint8)
    write_pyramid(path, (1100, 1100), lambda box: noise[box.slices], mpp=0.5)
    boxes = [Box(0, 0, 100, 100), Box(100, 100, 200, 200)]
    with open_slide(path, at_mpp=2.0) as slide:
        assert slide.resolution.level == 1
        mosaic = build_mosaic(slide, boxes, level=1)
        assert mosaic.resolution.ratio == 1
        shown = Slide(mosaic.image, mosaic.resolution).read(Box(0, 100, 100, 200))
        np.testing.assert_array_equal(shown, slide.read(boxes[1]))
