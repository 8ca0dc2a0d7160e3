"""Dust, hairs, edges of glass and hot pixels are no tissue; single nuclei always are."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from nucleipel.io.slides.slide import open_slide

SIDE = 2400
PURPLE, PINK, BROWN = (96, 60, 130), (225, 150, 190), (120, 97, 72)


def _tissue(path: Path, pixels: np.ndarray) -> np.ndarray:
    tifffile.imwrite(path, pixels, tile=(256, 256))
    with open_slide(path) as slide:
        return slide.tissue().tissue.mask


def _glass() -> np.ndarray:
    draw = np.random.default_rng(0)
    return np.rint(draw.normal((243, 242, 244), 1.5, (SIDE, SIDE, 3))).astype(np.uint8)


def _dark() -> np.ndarray:
    return np.rint(np.random.default_rng(0).normal(100, 4, (SIDE, SIDE))).astype(np.uint16)


def _places(count: int) -> list[tuple[int, int]]:
    places = np.random.default_rng(3).integers(60, SIDE - 60, (count, 2))
    return [(int(x), int(y)) for y, x in places]


def _held(mask: np.ndarray, places: list[tuple[int, int]]) -> list[bool]:
    cells = [(y // 16, x // 16) for x, y in places]
    return [bool(mask[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].any()) for y, x in cells]


@pytest.mark.parametrize("gray", [60, 120, 180])
def test_dust_on_glass_is_no_tissue(tmp_path: Path, gray: int) -> None:
    pixels = _glass()
    for x, y in _places(40):
        cv2.circle(pixels, (x, y), 7, (gray, gray, gray + 3), -1)
    assert not _tissue(tmp_path / "slide.tif", pixels).any()


def test_a_hair_and_the_edge_of_a_coverslip_are_no_tissue(tmp_path: Path) -> None:
    pixels = _glass()
    curve = np.array([[200, 2000], [900, 1500], [1300, 1900]])
    cv2.polylines(pixels, [curve], False, BROWN, 16)
    cv2.line(pixels, (2200, 0), (2230, SIDE), (140, 140, 141), 10)
    assert not _tissue(tmp_path / "slide.tif", pixels).any()


@pytest.mark.parametrize("stain", [PURPLE, BROWN])
def test_single_nuclei_among_dust_are_tissue(tmp_path: Path, stain: tuple[int, ...]) -> None:
    pixels = _glass()
    nuclei, dust = _places(60)[:20], _places(60)[20:]
    for x, y in nuclei:
        cv2.circle(pixels, (x, y), 8, stain, -1)
    for x, y in dust:
        cv2.circle(pixels, (x, y), 8, (90, 90, 90), -1)
    assert all(_held(_tissue(tmp_path / "slide.tif", pixels), nuclei))


def test_a_strand_with_nuclei_is_no_hair(tmp_path: Path) -> None:
    pixels = _glass()
    cv2.line(pixels, (300, 700), (2100, 900), PINK, 16)
    nuclei = [(300 + 180 * index, 700 + 20 * index) for index in range(1, 10)]
    for x, y in nuclei:
        cv2.circle(pixels, (x, y), 7, PURPLE, -1)
    assert all(_held(_tissue(tmp_path / "slide.tif", pixels), nuclei))


def test_a_slide_stained_in_gray_keeps_its_single_nuclei(tmp_path: Path) -> None:
    pixels = _glass()
    cv2.rectangle(pixels, (300, 300), (900, 900), (200, 200, 200), -1)
    nuclei = [(x, y) for x, y in _places(40) if max(x, y) > 1000]
    for x, y in nuclei:
        cv2.circle(pixels, (x, y), 8, (90, 90, 90), -1)
    assert all(_held(_tissue(tmp_path / "slide.tif", pixels), nuclei))


def test_hot_pixels_are_no_tissue_and_small_nuclei_are(tmp_path: Path) -> None:
    pixels = _dark()
    nuclei, hot = _places(120)[:20], _places(120)[20:]
    for x, y in hot:
        pixels[y, x] = 4000
    assert not _tissue(tmp_path / "hot.tif", pixels).any()
    for x, y in nuclei:
        cv2.circle(pixels, (x, y), 3, 180, -1)
    assert all(_held(_tissue(tmp_path / "both.tif", pixels), nuclei))


def test_a_little_tissue_on_much_glass_is_stained(tmp_path: Path) -> None:
    pixels = _glass()
    assert not _is_stained(tmp_path / "glass.tif", pixels)
    cv2.rectangle(pixels, (300, 300), (430, 430), PINK, -1)  # 0.3 % of it
    assert _is_stained(tmp_path / "slide.tif", pixels)


def _is_stained(path: Path, pixels: np.ndarray) -> bool:
    tifffile.imwrite(path, pixels, tile=(256, 256))
    with open_slide(path) as slide:
        return slide.is_stained()
