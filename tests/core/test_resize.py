"""Whole images in another shape: hand-drawn pictures."""

import numpy as np

from nucleipel.core.resize import resize, resize_ids


def test_an_axis_that_shrinks_takes_means_and_one_that_grows_interpolates() -> None:
    pixels = np.arange(24, dtype=np.float32).reshape(4, 6, 1)
    small = resize(pixels, (2, 3))
    assert np.allclose(small, pixels.reshape(2, 2, 3, 2, 1).mean(axis=(1, 3)))
    mixed = resize(pixels, (2, 12))
    assert mixed.shape == (2, 12, 1)
    # an odd column 2k + 1 lies a quarter of a pixel after column k
    between = pixels.reshape(2, 2, 6).mean(axis=1)[:, :5] + 0.25
    assert np.allclose(mixed[:, 1:11:2, 0], between)
    assert pixels.min() <= mixed.min() <= mixed.max() <= pixels.max()
    assert resize(pixels, (4, 6)) is pixels


def test_ids_are_those_under_the_centers() -> None:
    ids = np.array([[1, 1, 2, 2, 0, 0], [1, 1, 2, 2, 0, 7]], np.uint32)
    assert resize_ids(ids, (2, 3)).tolist() == [[1, 2, 0], [1, 2, 7]]
    assert resize_ids(ids, (4, 3)).tolist() == [[1, 2, 0]] * 2 + [[1, 2, 7]] * 2
    assert resize_ids(ids, (2, 6)).tolist() == ids.tolist()
