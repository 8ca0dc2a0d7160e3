"""Cores own every pixel once, patches cover every pixel, mirrored pixels are NumPy's."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from nucleipel.core.geometry import (
    Box,
    core_tiles,
    mirrored_frame,
    overlapping_tiles,
    reflected_indices,
)

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
SHAPES = st.tuples(st.integers(1, 60), st.integers(1, 60))


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Boxes that may overhang images of `SHAPES` on any side, or miss them."""
    y0, x0 = draw(st.integers(-20, 70)), draw(st.integers(-20, 70))
    return Box(y0, x0, y0 + draw(st.integers(0, 60)), x0 + draw(st.integers(0, 60)))


def test_box() -> None:
    box = Box(2, 3, 6, 9)
    assert box.shape == (4, 6)
    assert box.grow(2) == Box(0, 1, 8, 11)
    assert box.shift(-3, 1) == Box(-1, 4, 3, 10)
    assert box.grow(5).clip((7, 10)) == Box(0, 0, 7, 10)
    assert Box.of_shape((7, 10)) == Box(0, 0, 7, 10)
    picture = np.arange(70).reshape(7, 10)
    assert np.array_equal(picture[box.slices], picture[2:6, 3:9])


def test_core_tiles_drawn_by_hand() -> None:
    tiles = list(core_tiles((5, 7), core_px=4, halo_px=1))
    assert [tile.core for tile in tiles] == [
        Box(0, 0, 4, 4),
        Box(0, 4, 4, 7),
        Box(4, 0, 5, 4),
        Box(4, 4, 5, 7),
    ]
    assert [tile.window for tile in tiles] == [
        Box(-1, -1, 5, 5),
        Box(-1, 3, 5, 9),
        Box(3, -1, 9, 5),
        Box(3, 3, 9, 9),
    ]


def test_windows_end_at_the_frame() -> None:
    frame = mirrored_frame((5, 7), edge_px=2, multiple_px=2)
    assert frame == Box(-2, -2, 8, 10)
    tiles = list(core_tiles((5, 7), core_px=4, halo_px=3, frame=frame))
    assert [tile.window for tile in tiles] == [
        Box(-2, -2, 7, 7),
        Box(-2, 1, 7, 10),
        Box(1, -2, 8, 7),
        Box(1, 1, 8, 10),
    ]


@PATIENT
@given(SHAPES, st.integers(1, 25), st.integers(0, 9))
@example((1, 1), 25, 9)
@example((16, 32), 16, 0)
def test_cores_partition_the_image(shape: tuple[int, int], core_px: int, halo_px: int) -> None:
    owned = np.zeros(shape, int)
    starts = []
    for tile in core_tiles(shape, core_px=core_px, halo_px=halo_px):
        assert tile.core == tile.core.clip(shape)
        owned[tile.core.slices] += 1
        starts.append((tile.core.y0, tile.core.x0))
        assert tile.window.shape == (core_px + 2 * halo_px,) * 2
        assert (tile.window.y0, tile.window.x0) == (tile.core.y0 - halo_px, tile.core.x0 - halo_px)
    assert (owned == 1).all()
    assert starts == sorted(starts), "raster order"


@PATIENT
@given(SHAPES, st.integers(1, 25), st.integers(0, 9), boxes())
@example((40, 40), 16, 4, Box(17, 17, 40, 40))
@example((40, 40), 16, 4, Box(3, 3, 9, 9))
def test_within_selects_and_never_moves_the_grid(
    shape: tuple[int, int], core_px: int, halo_px: int, within: Box
) -> None:
    grid = core_tiles(shape, core_px=core_px, halo_px=halo_px)
    wanted = [
        tile
        for tile in grid
        if within.y0 <= tile.core.y0 < within.y1 and within.x0 <= tile.core.x0 < within.x1
    ]
    assert list(core_tiles(shape, core_px=core_px, halo_px=halo_px, within=within)) == wanted


@PATIENT
@given(SHAPES, st.integers(1, 12), st.integers(1, 60), st.integers(0, 9))
def test_bands_share_out_all_tiles(
    shape: tuple[int, int], core_px: int, band_px: int, halo_px: int
) -> None:
    bands = [
        core_tiles(shape, core_px=core_px, halo_px=halo_px, within=Box(y, 0, y + band_px, shape[1]))
        for y in range(0, shape[0], band_px)
    ]
    everything = core_tiles(shape, core_px=core_px, halo_px=halo_px)
    assert list(itertools.chain(*bands)) == list(everything)


def test_overlapping_tiles_drawn_by_hand() -> None:
    # 9 rows: starts 0, 3, then the last moved inwards to 5; 4 columns: one tile
    assert overlapping_tiles((9, 4), side_px=4, overlap_px=1) == [
        Box(0, 0, 4, 4),
        Box(3, 0, 7, 4),
        Box(5, 0, 9, 4),
    ]


@PATIENT
@given(SHAPES, st.integers(1, 25), st.integers(0, 24))
@example((25, 26), 25, 24)
@example((3, 60), 25, 0)
def test_overlapping_tiles_cover_the_image(
    shape: tuple[int, int], side_px: int, overlap_px: int
) -> None:
    assume(overlap_px < side_px)
    tiles = overlapping_tiles(shape, side_px=side_px, overlap_px=overlap_px)
    covered = np.zeros(shape, int)
    for tile in tiles:
        assert tile.shape == (side_px, side_px)
        on_image = tile.clip(shape)
        covered[on_image.slices] += 1
        # rows and columns each on their own: an image may be large along one axis only
        assert on_image.shape == tuple(min(side_px, length) for length in shape)
    assert covered.min() >= 1

    rows = sorted({tile.y0 for tile in tiles})
    columns = sorted({tile.x0 for tile in tiles})
    assert [(tile.y0, tile.x0) for tile in tiles] == list(itertools.product(rows, columns))
    for starts in (rows, columns):
        for before, after in itertools.pairwise(starts):
            assert before + side_px - after >= overlap_px


@PATIENT
@given(st.integers(-70, 70), st.integers(0, 140), st.integers(1, 30))
@example(-5, 10, 1)
@example(-5, 12, 2)
@example(3, 0, 4)
def test_reflected_indices_agree_with_numpy(start: int, count: int, length: int) -> None:
    stop = start + count
    picture = np.arange(length)
    # pad far enough for every position, then look up where position 0 came to lie
    before, after = max(0, -start), max(0, stop - length)
    padded = np.pad(picture, (before, after), mode="reflect")
    expected = padded[start + before : stop + before]
    assert np.array_equal(reflected_indices(start, stop, length), expected)


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_inside_the_image_nothing_is_mirrored(length: int) -> None:
    assert reflected_indices(0, length, length).tolist() == list(range(length))
