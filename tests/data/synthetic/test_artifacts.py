"""Dust, hairs, pens, coverslip edges and void lie where they were laid, and look as they do."""

from typing import Any

import numpy as np
import pytest

from nucleipel.core.geometry import Box
from nucleipel.data.synthetic import (
    BrightGround,
    CoverslipEdge,
    DarkGround,
    Dust,
    Hair,
    Islands,
    Pen,
    Piece,
    SyntheticSlide,
    Void,
    build_tissue,
)
from nucleipel.data.synthetic.artifacts import Stroke
from nucleipel.data.synthetic.background import FRAME_PX

CLEAN = BrightGround(noise=0)


class Drawn:
    """Strokes drawn by hand."""

    def __init__(self, *strokes: Stroke) -> None:
        self._strokes = strokes

    def strokes(self, shape: tuple[int, int], draw: np.random.Generator) -> Any:
        return self._strokes


def _pixels(*artifacts: Any, shape: tuple[int, int] = (1000, 1400), **more: Any) -> np.ndarray:
    slide = SyntheticSlide(shape, more.pop("ground", CLEAN), artifacts=artifacts, **more)
    return slide.read(Box.of_shape(shape))


def test_a_line_is_as_wide_and_dark_as_drawn() -> None:
    line = Stroke(np.array([[5.0, 2.0], [5.0, 12.0]]), 4, 1, (1.0, 0.5, 0.0))
    found = _pixels(Drawn(line), shape=(10, 20))
    rows = found[:, 8]
    assert rows[:3].tolist() == rows[7:].tolist() == [[243, 243, 243]] * 3
    assert rows[3:7].tolist() == [[0, 122, 243]] * 4
    assert (found[5, 0] == 243).sum() == 1, "the end is round: 2 px before the first point"
    assert found[5, 14:].min() == 243
    assert found[2, 1].tolist() == [243, 243, 243]


def test_crossing_lines_darken_each_other() -> None:
    down = Stroke(np.array([[0.0, 5.0], [10.0, 5.0]]), 2, 1, (0.5, 0.5, 0.5))
    right = Stroke(np.array([[5.0, 0.0], [5.0, 10.0]]), 2, 1, (0.5, 0.5, 0.5))
    found = _pixels(Drawn(down, right), shape=(10, 10))[..., 0]
    assert found[0, 4] == found[4, 0] == 122
    assert found[4, 4] == 61
    assert found[0, 0] == 243


def test_on_dark_ground_they_shine() -> None:
    dark = DarkGround(noise=0, shot_noise=0)
    found = _pixels(Pen(count=1), ground=dark)
    assert np.median(found) == 100
    assert 150 < found.max() < 400


def test_a_speck_of_dust_is_small() -> None:
    changed = (_pixels(Dust(specks=1)) != 243).any(axis=-1)
    assert 0 < changed.sum() < np.pi * 40**2
    assert (_pixels(Dust(specks=40)) != 243).any(axis=-1).sum() > 5 * changed.sum()


def test_a_hair_is_long_thin_and_brown() -> None:
    found = _pixels(Hair(length_px=600, width_px=10))
    dark = found[(found < 150).all(axis=-1)]
    assert 600 * 6 < len(dark) < 600 * 14
    red, _, blue = dark.mean(axis=0)
    assert red > blue + 30


@pytest.mark.parametrize(
    ("color", "order"), [("blue", [0, 1, 2]), ("green", [0, 2, 1]), ("black", None)]
)
def test_pens_have_their_colors(color: Any, order: list[int] | None) -> None:
    found = _pixels(Pen(color, count=1, width_px=60))
    ink = found[(found != 243).any(axis=-1)]
    assert 0.4 * 500 * 60 < len(ink) < 1.6 * 500 * 60
    means = np.median(ink, axis=0)
    if order is None:
        assert np.ptp(means) < 12
        assert means.max() < 60
    else:
        assert np.argsort(means).tolist() == order


def test_a_coverslip_edge_runs_from_top_to_bottom() -> None:
    changed = (_pixels(CoverslipEdge(at=0.5)) != 243).any(axis=-1)
    assert changed.any(axis=1).all()
    columns = np.nonzero(changed)[1]
    assert 700 - 100 < columns.min() < columns.max() < 700 + 130


def test_padding_is_void_and_exact() -> None:
    void = Void(value=255, padding=0.25, field_px=100)
    found = _pixels(shape=(1000, 1200), void=void, ground=BrightGround())
    assert (found[800:] == 255).all()
    assert (found[:, 900:] == 255).all()
    assert found[:800, :900].mean() == pytest.approx(243, abs=0.2)
    around = Void(value=0, padding=0.25, on_all_sides=True, field_px=100)
    found = _pixels(shape=(1000, 1200), void=around)
    assert (found[200:800, 300:900] == 243).all()
    assert found[found != 243].size == (1000 * 1200 - 600 * 600) * 3


def test_a_void_hides_nuclei() -> None:
    """Of a tissue that covers all, those in the upper left quarter remain."""
    tissue = build_tissue("ihc", side_px=256)
    void = Void(padding=0.5, field_px=128)
    slide = SyntheticSlide((1024, 1024), CLEAN, tissue=tissue, layout=Islands(1), void=void)
    centers, nuclei = slide.centers(), slide.annotation(Box(0, 0, 1024, 1024))
    assert 40 < len(centers) == len(np.unique(nuclei)) - 1 == 4 * len(tissue.centers)
    assert centers.max() < 512
    assert not nuclei[512:].any()
    assert slide.is_bare(Box(0, 0, 9, 9)) is slide.is_bare(Box(600, 600, 609, 609)) is False


def test_only_fields_at_tissue_are_scanned() -> None:
    piece = Piece(np.full((80, 80, 3), 9, np.uint8), 510, 410)
    void = Void(padding=0, unscanned=True, field_px=100)
    found = _pixels(pieces=[piece], void=void)[..., 0]
    scanned = np.zeros((1000, 1400), bool)
    scanned[400:700, 300:600] = True
    assert np.array_equal(found > 0, scanned)
    assert (found == 9).sum() == 80 * 80


def test_light_falls_to_the_corners_of_each_frame() -> None:
    shape = (2 * FRAME_PX, 3 * FRAME_PX)
    ground = BrightGround(200, noise=0, vignetting=0.1)
    found = _pixels(shape=shape, ground=ground)[..., 0]
    middle = FRAME_PX // 2
    for y, x in ((0, 0), (FRAME_PX, 0), (FRAME_PX, 2 * FRAME_PX), (FRAME_PX - 1, FRAME_PX - 1)):
        assert found[y, x] == 180
    assert found[middle, middle] == found[middle, middle + 2 * FRAME_PX] == 200
    assert found[0, middle] == found[middle, FRAME_PX] == 190


def test_light_falls_over_the_slide() -> None:
    found = _pixels(ground=BrightGround(200, noise=0, gradient=0.1))[..., 0]
    assert (found[:, 0] == 200).all()
    assert (found[:, 700] == 190).all()
    assert (found[:, -1] == 180).all()
    haze = DarkGround(noise=0, shot_noise=0, haze=0.1, gradient=0.5)
    found = _pixels(ground=haze)[..., 0]
    assert found[0, 0] == 100 + 150
    assert found[0, -1] == 100 + 75


def test_hot_pixels_are_those_of_the_camera() -> None:
    ground = DarkGround(hot_pixels=1e-4)
    found = _pixels(shape=(FRAME_PX, 2 * FRAME_PX), ground=ground)[..., 0]
    first, second = found[:, :FRAME_PX] > 400, found[:, FRAME_PX:] > 400
    assert 60 < first.sum() < 150
    assert np.array_equal(first, second)


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_of_the_dark(channels: int) -> None:
    found = _pixels(ground=DarkGround(channels))
    assert found.dtype == np.uint16
    assert found.shape[-1] == channels
    assert found.mean() == pytest.approx(100, abs=0.1)
    assert found.std() == pytest.approx(4, abs=0.1)
    found = _pixels(ground=DarkGround.of_8_bit(channels))
    assert found.dtype == np.uint8
    assert found.mean() == pytest.approx(6, abs=0.1)
    assert found.std() == pytest.approx(1, abs=0.1)


def test_light_has_noise_of_its_own() -> None:
    found = _pixels(ground=DarkGround(noise=0, shot_noise=0.5, haze=1.0))
    assert found.mean() == pytest.approx(1600, abs=1)
    assert found.std() == pytest.approx(750**0.5, abs=1)
