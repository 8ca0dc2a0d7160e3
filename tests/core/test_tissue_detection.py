"""Tissue against the ground of the slide itself, on pictures of cells drawn by hand."""

import numpy as np
import pytest

from nucleipel.core.tissue_detection import find_kinds, noise_of_pixels

SHAPE = (120, 160)
PIECE = np.s_[40:70, 50:90]
WHITE, PINK, BROWN, PALE = (243, 242, 244), (226, 185, 214), (160, 120, 90), (224, 206, 222)


def _bright(white: tuple[int, ...], noise: float = 0.5) -> np.ndarray:
    draw = np.random.default_rng(0)
    return np.array(white) + draw.normal(0, noise, (*SHAPE, len(white)))


def _stained(glass: np.ndarray, stain: tuple[int, ...]) -> np.ndarray:
    """Tissue is never even: each cell holds another share of nuclei."""
    strength = np.random.default_rng(1).uniform(0.9, 1.3, (*glass.shape[:2], 1))
    return glass * (np.array(stain) / WHITE) ** strength


def _found(cells: np.ndarray, *, dtype: type = np.uint8, noise: float = 0.0) -> np.ndarray:
    stored = np.rint(np.clip(cells, 0, np.iinfo(dtype).max)).astype(dtype)
    kinds = find_kinds(
        stored, is_color=stored.shape[2] == 3, pixel_noise=np.full(stored.shape[2], noise)
    )
    _found.ground = kinds.ground
    return kinds.tissue


def _assert_only_the_piece(tissue: np.ndarray, *, but: float = 0.0) -> None:
    assert tissue[PIECE].all()
    outside = np.ones(SHAPE, bool)
    outside[38:72, 48:92] = False
    assert tissue[outside].mean() <= but


@pytest.mark.parametrize("stain", [PINK, BROWN, PALE, (70, 40, 110)])
@pytest.mark.parametrize("white", [WHITE, (231, 224, 206), (216, 216, 216)])
def test_stains_on_glass_of_any_tint(stain: tuple[int, ...], white: tuple[int, ...]) -> None:
    cells = _bright(white)
    cells[PIECE] = _stained(cells[PIECE], stain)
    _assert_only_the_piece(_found(cells))
    assert _found.ground.bright
    assert _found.ground.level == pytest.approx(white, abs=1)
    cells = cells * 16  # 12 bits of color in 16
    _assert_only_the_piece(_found(cells, dtype=np.uint16))


def test_glass_in_the_shade_is_glass() -> None:
    y, x = np.mgrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    cells = _bright(WHITE) * (1 - 0.1 * (y**2 + x**2))[..., None]  # a fifth less in the corners
    cells[PIECE] = _stained(cells[PIECE], PALE)
    _assert_only_the_piece(_found(cells))


@pytest.mark.parametrize("value", [0, 255])
def test_what_the_scanner_did_not_see_is_no_ground(value: int) -> None:
    cells = _bright((236, 230, 236))
    cells[:, 100:] = value
    cells[PIECE] = _stained(cells[PIECE], PINK)
    _assert_only_the_piece(_found(cells), but=0.02)  # along the edge of what was not seen
    assert _found.ground.level == pytest.approx((236, 230, 236), abs=1)


def test_gray_transmitted_light() -> None:
    cells = _bright((230,))
    cells[PIECE] = 190
    _assert_only_the_piece(_found(cells))
    assert _found.ground.bright


def test_without_glass_almost_all_is_tissue() -> None:
    draw = np.random.default_rng(0)
    cells = np.array(PINK) * draw.uniform(0.4, 1, (*SHAPE, 1))
    assert _found(cells).mean() > 0.8


@pytest.mark.parametrize(
    "ink", [(36, 73, 194), (49, 182, 97), (36, 36, 44), (200, 40, 50), (80, 80, 78)]
)
def test_ink_is_glass_unless_tissue_is_near(ink: tuple[int, ...]) -> None:
    cells = _bright(WHITE)
    cells[10:30, 5:155] = ink
    cells[10:30, 5:155] += np.random.default_rng(2).normal(0, 1, (20, 150, 3))
    assert not _found(cells).any()
    cells[20:80, 60:100] = _stained(cells[20:80, 60:100], PINK)
    tissue = _found(cells)
    assert tissue[30:80, 60:100].all()
    assert tissue[24:30, 65:95].all(), "under ink"
    assert not tissue[10:30, 5:40].any()
    assert not tissue[10:30, 120:155].any()


def _dark(level: float, noise: float, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).normal(level, noise, (*SHAPE, channels))


@pytest.mark.parametrize(("level", "noise", "dtype"), [(100, 0.5, np.uint16), (2, 0.3, np.uint8)])
@pytest.mark.parametrize("channels", [1, 3])
def test_single_nuclei_on_dark_ground(level: int, noise: float, dtype: type, channels: int) -> None:
    cells = _dark(level, noise, channels)
    places = [(5, 5), (60, 80), (60, 83), (119, 159)]
    for y, x in places:
        cells[y, x, -1] += 10
    tissue = _found(cells, dtype=dtype, noise=4)
    assert sorted(map(tuple, np.argwhere(tissue).tolist())) == sorted(places)
    assert not _found.ground.bright


def test_dense_nuclei_hide_no_ground() -> None:
    cells = _dark(100, 0.5)
    draw = np.random.default_rng(1)
    dense = draw.random(SHAPE) < 0.7
    cells[dense] += draw.uniform(50, 1000, (dense.sum(), 1))
    assert np.array_equal(_found(cells, dtype=np.uint16, noise=4), dense)


def test_ground_that_is_lit_unevenly_is_ground() -> None:
    y, x = np.mgrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    cells = _dark(100, 0.5) + 15 * (y**2 + x**2)[..., None]
    cells[60, 80] += 10
    cells[3, 3] += 10
    tissue = _found(cells, dtype=np.uint16, noise=4)
    assert np.argwhere(tissue).tolist() == [[3, 3], [60, 80]]


def test_black_void_beside_dark_ground() -> None:
    cells = _dark(100, 0.5)
    cells[:, 100:] = 0
    cells[60, 80] += 10
    assert np.argwhere(_found(cells, dtype=np.uint16, noise=4)).tolist() == [[60, 80]]


@pytest.mark.parametrize("cells", [_dark(100, 0.5), _dark(100, 0), _dark(0, 0), _bright(WHITE)])
def test_noise_and_nothing_hold_no_tissue(cells: np.ndarray) -> None:
    assert not _found(cells, noise=4).any()


def test_noise_of_pixels_does_not_see_structure() -> None:
    draw = np.random.default_rng(0)
    regions = draw.normal(1000, 7, (4, 64, 64, 1))
    regions[:, 10:30, 10:30] += 3000
    assert noise_of_pixels(regions)[0] == pytest.approx(7, rel=0.05)
