"""Labels of overlapping tiles become one map, whatever the order; tiles of one map give it back."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleipel.core.geometry import Box
from nucleipel.data.synthetic.generated_map import build_instance_map
from nucleipel.instances.merge_tiles import LabeledTile, merge_tiles
from nucleipel.instances.table_of_map import in_raster_order, table_of_map

WHOLE = in_raster_order(build_instance_map(Box(0, 0, 120, 150), seed=2))
"""Nuclei of up to some 30 px, many of which touch."""


def cut(whole: np.ndarray, side: int, overlap: int) -> list[LabeledTile]:
    height, width = whole.shape
    step = side - overlap
    return [
        LabeledTile(whole[y : y + side, x : x + side], y, x)
        for y in range(0, max(1, height - overlap), step)
        for x in range(0, max(1, width - overlap), step)
    ]


@given(side=st.integers(40, 200), overlap=st.integers(8, 36))
@settings(max_examples=20, deadline=None)
def test_tiles_of_one_map_give_it_back(side, overlap):
    merged = merge_tiles(cut(WHOLE, side, overlap), WHOLE.shape)
    assert (merged.map == WHOLE).all()
    assert merged.facts["nuclei"] == WHOLE.max()
    assert merged.facts["disputed_px"] == merged.facts["dropped"] == 0


@st.composite
def noisy_tiles(draw):
    """Tiles that do not agree: each moved its nuclei by a pixel or lost some."""
    tiles = []
    for tile in cut(WHOLE, 60, 24):
        labels = np.roll(tile.labels, draw(st.integers(-2, 2)), axis=draw(st.integers(0, 1)))
        lost = draw(st.integers(0, int(WHOLE.max())))
        tiles.append(LabeledTile(np.where(labels == lost, 0, labels), tile.y0, tile.x0))
    return tiles


@given(tiles=noisy_tiles(), data=st.data())
@settings(max_examples=15, deadline=None)
def test_neither_order_nor_ids_matter(tiles, data):
    merged = merge_tiles(tiles, WHOLE.shape)
    shuffled = data.draw(st.permutations(tiles))
    again = merge_tiles(
        [LabeledTile(_renamed(tile.labels), tile.y0, tile.x0) for tile in shuffled], WHOLE.shape
    )
    assert (merged.map == again.map).all()
    assert merged.facts == again.facts
    ids = np.unique(merged.map)
    assert ids.tolist() == list(range(len(ids)))


def _renamed(labels: np.ndarray) -> np.ndarray:
    return np.where(labels > 0, 5000 - labels.astype(np.int64), 0)


def test_a_nucleus_wider_than_every_tile():
    whole = np.zeros((20, 100), np.uint32)
    whole[5:15, 3:97] = 1
    merged = merge_tiles(cut(whole, 40, 10), whole.shape)
    assert (merged.map == whole).all()
    assert merged.facts["joined"] == 1


def test_the_piece_that_a_border_cut_gives_way():
    """On the left tile the nucleus ends at the border, and is thinner than it is."""
    left, right = np.zeros((10, 20), int), np.zeros((10, 20), int)
    left[3:6, 14:20] = 1
    right[2:8, 4:12] = 1  # columns 14 to 22 of the image
    merged = merge_tiles([LabeledTile(left, 0, 0), LabeledTile(right, 0, 10)], (10, 30))
    expected = np.zeros((10, 30), np.uint32)
    expected[2:8, 14:22] = 1
    assert (merged.map == expected).all()
    assert merged.facts["disputed_px"] == 3 * 6


def test_a_duplicate_is_dropped():
    """Half a nucleus at the border of a tile, which the other tile sees otherwise."""
    left, right = np.zeros((12, 20), int), np.zeros((12, 20), int)
    left[4:6, 16:20] = 1
    right[2:10, 2:14] = 1  # columns 12 to 24
    merged = merge_tiles([LabeledTile(left, 0, 0), LabeledTile(right, 0, 10)], (12, 30))
    assert merged.facts["dropped"] == 1
    assert merged.map.max() == 1
    assert np.count_nonzero(merged.map) == 8 * 12


def test_nothing():
    assert merge_tiles([], (5, 6)).map.shape == (5, 6)
    empty = LabeledTile(np.zeros((5, 6), int), 0, 0)
    assert merge_tiles([empty], (5, 6)).facts["nuclei"] == 0


def test_table_of_map():
    table = table_of_map(WHOLE)
    for nucleus in (1, int(WHOLE.max()) // 2, int(WHOLE.max())):
        y, x = np.nonzero(nucleus == WHOLE)
        assert table.area_px[nucleus - 1] == len(y)
        assert table.box_px[nucleus - 1].tolist() == [y.min(), x.min(), y.max() + 1, x.max() + 1]
        assert np.allclose(table.centroid_px[nucleus - 1], (y.mean(), x.mean()))
