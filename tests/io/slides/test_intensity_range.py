"""The range of a slide is that of its tissue, whatever glass lies around and wherever it lies."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from nucleipel.core.geometry import Box
from nucleipel.core.intensity import IntensityRange
from nucleipel.data.synthetic import build_scene
from nucleipel.io.slides.intensity_range import MOST_REGIONS, spread_regions
from nucleipel.io.slides.slide import open_slide

SIDE = 3000
PIECE_PX = 640


def _range(path: Path, pixels: np.ndarray) -> IntensityRange:
    tifffile.imwrite(path, pixels, tile=(256, 256))
    with open_slide(path) as slide:
        return slide.intensity_range()


def _on_ground(ground: np.ndarray, piece: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    pixels = ground.copy()
    pixels[place[0] : place[0] + len(piece), place[1] : place[1] + piece.shape[1]] = piece
    return pixels


def _fluorescence() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    ground = np.rint(draw.normal(100, 4, (SIDE, SIDE))).astype(np.uint16)
    piece = draw.normal(100, 4, (PIECE_PX, PIECE_PX)).astype(np.float32)
    for y, x in draw.integers(20, PIECE_PX - 20, (60, 2)).tolist():
        shape = np.zeros_like(piece)
        cv2.circle(shape, (x, y), 8, float(draw.uniform(300, 2000)), -1)
        piece += cv2.GaussianBlur(shape, (0, 0), 1.5)
    return ground, np.rint(piece).astype(np.uint16)


def _stained() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    glass = np.array([243, 242, 244]) + draw.normal(0, 1.5, (SIDE, SIDE, 3))
    return np.rint(glass).astype(np.uint8), build_scene((PIECE_PX, PIECE_PX), seed=0).image


@pytest.mark.parametrize("kind", ["fluorescence", "stained"])
def test_glass_and_place_do_not_change_the_range(tmp_path: Path, kind: str) -> None:
    ground, piece = _fluorescence() if kind == "fluorescence" else _stained()
    alone = _range(tmp_path / "alone.tif", piece)
    width = np.subtract(alone.high, alone.low)
    for place in ((1000, 1500), (0, 0), (2333, 777)):
        found = _range(tmp_path / "slide.tif", _on_ground(ground, piece, place))
        assert np.abs(np.subtract(found.low, alone.low) / width).max() < 0.06, place
        assert np.abs(np.subtract(found.high, alone.high) / width).max() < 0.06, place


def test_a_lone_nucleus_sets_the_range(tmp_path: Path) -> None:
    ground, _ = _fluorescence()
    cv2.circle(ground, (2011, 1017), 9, 1500, -1)
    found = _range(tmp_path / "slide.tif", ground)
    assert 80 < found.low[0] < 100
    assert found.high[0] > 1400


@pytest.mark.parametrize("level", [(100, 4), (100, 0), (40_000, 900)])
def test_ground_alone_is_not_stretched(tmp_path: Path, level: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    pixels = np.rint(draw.normal(*level, (2500, 2500))).astype(np.uint16)
    shown = _range(tmp_path / "slide.tif", pixels).normalize(pixels[..., None])
    assert np.ptp(shown) < 0.2


def test_glass_alone_is_not_stretched(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    glass = np.rint(draw.normal((243, 242, 244), 1.5, (2500, 2500, 3))).astype(np.uint8)
    assert np.ptp(_range(tmp_path / "slide.tif", glass).normalize(glass)) < 0.2


def test_a_speck_of_dust_does_not_stretch_noise(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    pixels = np.rint(draw.normal(100, 4, (2500, 2500))).astype(np.uint16)
    pixels[1200:1206, 800:806] = 400
    assert _range(tmp_path / "slide.tif", pixels).normalize(pixels[..., None]).std() < 0.12


def test_a_channel_without_signal_is_not_stretched(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    pixels = np.rint(np.abs(draw.normal(2, 1, (1000, 1000, 3))))
    for y, x in draw.integers(20, 980, (200, 2)).tolist():
        pixels[y - 8 : y + 8, x - 8 : x + 8, 2] = 122
    found = _range(tmp_path / "slide.tif", pixels.astype(np.uint8))
    assert np.subtract(found.high, found.low)[2] == pytest.approx(122, abs=4)
    assert (np.subtract(found.high, found.low)[:2] > 110).all()


def test_regions_are_spread_over_the_tissue() -> None:
    weights = np.zeros((1000, 1200), np.uint8)
    weights[100:500, 200:600] = weights[800:, :150] = 255
    weights[600, 800:] = 1
    regions = spread_regions(weights, 16, (16_000, 19_190))
    assert len(regions) == MOST_REGIONS
    held = [
        weights[box.y0 // 16 : -(-box.y1 // 16), box.x0 // 16 : -(-box.x1 // 16)] for box in regions
    ]
    assert all((part == 255).any() for part in held)
    inside = [box for box in regions if box.y1 <= 8200]
    share = (weights[:500] > 0).sum() / (weights == 255).sum()
    assert len(inside) == pytest.approx(share * MOST_REGIONS, abs=3)
    quarters = Counter((box.y0 > 4800, box.x0 > 6400) for box in inside)
    assert len(quarters) == 4
    assert min(quarters.values()) > 0.15 * len(inside)


def test_all_of_small_tissue_is_read() -> None:
    weights = np.zeros((200, 200), np.uint8)
    weights[3, 3] = weights[199, 199] = 9
    regions = spread_regions(weights, 16, (3190, 3195))
    assert regions == [Box(0, 0, 256, 256), Box(3072, 3072, 3190, 3195)]


def test_pen_hair_and_dust_do_not_change_the_range(tmp_path: Path) -> None:
    glass, piece = _stained()
    clean = _on_ground(glass, piece, (1000, 1500))
    before = _range(tmp_path / "slide.tif", clean)
    cv2.line(clean, (100, 300), (2900, 500), (36, 73, 194), 200)
    cv2.line(clean, (100, 2700), (2900, 2500), (30, 30, 33), 200)
    cv2.polylines(
        clean, [np.array([[200, 2000], [900, 1800], [1300, 2200]])], False, (120, 97, 72), 12
    )
    for y, x in np.random.default_rng(3).integers(0, SIDE, (40, 2)).tolist():
        cv2.circle(clean, (x, y), 6, (60, 60, 60), -1)
    found = _range(tmp_path / "slide.tif", clean)
    width = np.subtract(before.high, before.low)
    assert np.abs(np.subtract(found.low, before.low) / width).max() < 0.05
    assert np.abs(np.subtract(found.high, before.high) / width).max() < 0.05
