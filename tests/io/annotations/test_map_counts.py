"""Figures of instance maps, beside those of SciPy, and window by window."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from nucleipel.core.geometry import Box
from nucleipel.io.annotations import map_counts
from nucleipel.io.annotations.map_counts import iter_figures, measure_map

SMALL_MAPS = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 3))
)


@settings(max_examples=150, deadline=None)
@given(ids=SMALL_MAPS, dtype=st.sampled_from([np.uint8, np.int32, np.int64]))
def test_pieces_are_those_of_scipy(ids: np.ndarray, dtype: type) -> None:
    figures = measure_map(ids.astype(dtype))
    assert figures.ids.tolist() == [value for value in np.unique(ids) if value]
    for place, value in enumerate(figures.ids):
        labeled, count = ndimage.label(ids == value, np.ones((3, 3)))
        sizes = np.bincount(labeled.ravel())[1:]
        assert figures.pieces[place] == count
        assert figures.largest[place] == sizes.max()
        assert figures.areas[place] == figures.whole[place] == sizes.sum()


def test_pieces_that_an_inner_edge_cuts_are_not_counted() -> None:
    ids = np.zeros((6, 8), int)
    ids[0:2, 3:5] = 1
    ids[3:5, 3:5] = 1
    ids[2:4, 7] = 2
    figures = measure_map(ids, inner=(True, False, False, True))
    assert figures.ids.tolist() == [1, 2]
    assert figures.areas.tolist() == [8, 2]
    assert figures.pieces.tolist() == [1, 0]
    assert figures.whole.tolist() == [4, 0]


def test_the_id_that_touches_most_others() -> None:
    ids = np.array([[1, 9, 2, 0], [9, 9, 9, 9], [3, 9, 4, 4]])
    figures = measure_map(ids)
    assert (figures.busiest, figures.touched) == (9, 4)
    apart = measure_map(np.array([[1, 0, 2], [0, 0, 0], [3, 0, 4]]))
    assert (apart.busiest, apart.touched, apart.contacts) == (0, 0, 0)


def test_a_map_is_read_in_windows_until_enough_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_counts, "WINDOW_PX", 10)
    read = []

    def ids_of(box: Box) -> np.ndarray:
        read.append(box)
        return np.ones(box.shape, np.uint8)

    shape = (25, 33)
    boxes = [box for box, _, _ in iter_figures(ids_of, shape)]
    covered = np.zeros(shape, int)
    for box in boxes:
        covered[box.slices] += 1
    assert (covered == 1).all()
    corners = {(box.y0, box.x0) for box in boxes[:4]}
    assert {(0, 0), (20, 30)} <= corners, "windows far apart come first"
    assert len(list(iter_figures(ids_of, shape, enough_px=101))) == 2


def test_a_large_map_costs_the_memory_of_a_window() -> None:
    row = np.arange(map_counts.WINDOW_PX) // 9 % 2 * (np.arange(map_counts.WINDOW_PX) // 18 + 1)

    def ids_of(box: Box) -> np.ndarray:
        return np.broadcast_to(row[: box.shape[1]], box.shape).astype(np.uint32)

    for _ in iter_figures(ids_of, (100, 100)):
        pass  # compiled
    tracemalloc.start()
    assert sum(1 for _ in iter_figures(ids_of, (100_000, 100_000))) >= 8
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120 * 2**20, peak
