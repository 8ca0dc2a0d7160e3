"""Nuclei found at one resolution and drawn at another: the same nuclei in the same places."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter, minimum_filter
from skimage.measure import label

from nucleipel.instances.output_frame import OutputMap


def _ids(shape: tuple[int, int], *, seed: int = 0) -> np.ndarray:
    """Rectangles of ids 1..n in raster order of first pixels, some of them one pixel thin."""
    rng = np.random.default_rng(seed)
    found = np.zeros(shape, np.uint32)
    count = 0
    for y in range(0, shape[0], 9):
        for x in range(0, shape[1], 9):
            height, width = rng.integers(0, 9, 2)
            found[y : y + height, x : x + width] = count + 1
            count = int(found.max())
    return found


@pytest.mark.parametrize("ratio", [1.0, 2.0, 3.2, 4.03])
def test_a_finer_frame_has_the_same_nuclei(ratio: float) -> None:
    working = _ids((40, 50))
    shape = round(40 * ratio), round(50 * ratio)
    drawn = OutputMap(working, nuclei=working.max(), shape=shape, ratio=ratio)
    whole = drawn[:, :]
    assert drawn.lost == 0
    assert np.array_equal(np.unique(whole), np.unique(working))
    ys = np.minimum((np.arange(shape[0]) + 0.5) / ratio, 39).astype(int)
    xs = np.minimum((np.arange(shape[1]) + 0.5) / ratio, 49).astype(int)
    under = working[ys][:, xs]
    inside = minimum_filter(working, 3) == maximum_filter(working, 3)
    assert np.array_equal(whole[inside[ys][:, xs]], under[inside[ys][:, xs]])
    if ratio == 1:
        assert np.array_equal(whole, working)


def test_contours_in_a_finer_frame_are_smooth() -> None:
    working = """
        . . . . . . . . . .
        . . . 1 1 . . . . .
        . . 1 1 1 1 . . . .
        . . 1 1 1 1 . 2 2 .
        . . . 1 1 . . 2 2 .
        . . . . . . . . . .
        . 3 3 3 3 3 . . 4 .
        . . . . . . . . . .
    """
    drawn = """
        . . . . . . . . . . . . . . . . . . . .
        . . . . . . . . . . . . . . . . . . . .
        . . . . . . . 1 1 . . . . . . . . . . .
        . . . . . . 1 1 1 1 . . . . . . . . . .
        . . . . . 1 1 1 1 1 1 . . . . . . . . .
        . . . . 1 1 1 1 1 1 1 1 . . . . . . . .
        . . . . 1 1 1 1 1 1 1 1 . . . 2 2 . . .
        . . . . . 1 1 1 1 1 1 . . . 2 2 2 2 . .
        . . . . . . 1 1 1 1 . . . . 2 2 2 2 . .
        . . . . . . . 1 1 . . . . . . 2 2 . . .
        . . . . . . . . . . . . . . . . . . . .
        . . . . . . . . . . . . . . . . . . . .
        . . 3 3 3 3 3 3 3 3 3 3 . . . . 4 4 . .
        . . 3 3 3 3 3 3 3 3 3 3 . . . . 4 4 . .
        . . . . . . . . . . . . . . . . . . . .
        . . . . . . . . . . . . . . . . . . . .
    """
    half = _ids_of_picture(working)
    assert np.array_equal(
        OutputMap(half, nuclei=4, shape=(16, 20), ratio=2.0)[:, :], _ids_of_picture(drawn)
    )


@settings(deadline=None, max_examples=40)
@given(ratio=st.floats(1.01, 4.5), seed=st.integers(0, 99), share=st.floats(0.2, 0.7))
def test_no_nucleus_of_a_finer_frame_is_lost_whatever_its_shape(
    ratio: float, seed: int, share: float
) -> None:
    noise = np.random.default_rng(seed).random((14, 17)) < share
    working = label(noise, connectivity=2).astype(np.uint32)
    shape = round(14 * ratio), round(17 * ratio)
    drawn = OutputMap(working, nuclei=int(working.max()), shape=shape, ratio=ratio)
    assert np.array_equal(np.unique(drawn[:, :]), np.unique(working))


def _ids_of_picture(picture: str) -> np.ndarray:
    lines = [line.split() for line in picture.strip().splitlines()]
    return np.array([[0 if sign == "." else int(sign) for sign in line] for line in lines])


class Chunked(np.ndarray):
    """An array that says, as zarr's do, in what parts it is best read."""

    chunks = (8, 8)


@settings(deadline=None, max_examples=40)
@given(
    ratio=st.one_of(st.just(1.0), st.floats(0.5, 4.5)),
    chunk=st.integers(3, 50),
    seed=st.integers(0, 99),
)
def test_any_part_is_that_of_the_whole(ratio: float, chunk: int, seed: int) -> None:
    working = _ids((31, 44), seed=seed)
    stored = working.view(Chunked)
    stored.chunks = (chunk, chunk)
    shape = max(1, round(31 * ratio)), max(1, round(44 * ratio))
    drawn = OutputMap(stored, nuclei=int(working.max()), shape=shape, ratio=ratio)
    whole = drawn[:, :]
    assert np.array_equal(drawn[5:17, 2:30], whole[5:17, 2:30])
    assert np.array_equal(drawn[::3, ::3], whole[::3, ::3])
    assert np.array_equal(np.unique(whole[whole > 0]), np.arange(1, drawn.kept.sum() + 1))
    boxes = []
    for nucleus in range(1, working.max() + 1):
        ys, xs = np.nonzero(working == nucleus)
        boxes.append((ys.min(), xs.min(), ys.max() + 1, xs.max() + 1))
    found = drawn.boxes(np.array(boxes).reshape(-1, 4))
    for box, kept, here in zip(found, drawn.kept, drawn.ids(0, len(boxes)), strict=True):
        ys, xs = np.nonzero(whole == here) if kept else ([], [])
        assert len(ys) > 0 or not kept
        assert ((ys >= box[0]) & (ys < box[2])).all()
        assert ((xs >= box[1]) & (xs < box[3])).all()
        if kept and ratio >= 1:
            actual = np.array((ys.min(), xs.min(), ys.max() + 1, xs.max() + 1))
            assert np.abs(box - actual).max() <= (0 if ratio == 1 else 4 * ratio + 1)


def test_nuclei_without_a_pixel_in_a_coarser_frame_are_dropped_everywhere() -> None:
    working = np.zeros((12, 12), np.uint32)
    working[0:4, 0:4] = 1
    working[6, :] = 2  # the centers of half as many pixels lie over rows 1, 3, 5, 7
    working[8:12, 8:12] = 3
    drawn = OutputMap(working, nuclei=3, shape=(6, 6), ratio=0.5)
    assert drawn.kept.tolist() == [True, False, True]
    assert drawn.to_json() == {"shape": [6, 6], "px_per_working_px": 0.5, "nuclei": 2, "lost": 1}
    expected = np.zeros((6, 6), np.uint32)
    expected[0:2, 0:2] = 1
    expected[4:6, 4:6] = 2
    assert np.array_equal(drawn[:, :], expected)
    assert drawn.ids(0, 3)[drawn.kept].tolist() == [1, 2]
    at_working = drawn.at_working_size()[:, :]
    assert np.array_equal(at_working, np.array([0, 1, 0, 2], np.uint32)[working])
