"""Overlays show each nucleus's own contour on the picture."""

import numpy as np

from nucleipel.instances.overlay import draw_overlay


def test_contours_lie_inside_their_nuclei_and_differ_between_neighbors() -> None:
    ids = np.zeros((300, 400), np.uint32)
    ids[100:150, 100:150] = 1
    ids[100:150, 150:200] = 2
    picture = np.full((300, 400, 3), 90, np.uint8)
    overlay = draw_overlay(picture, ids)
    assert overlay.shape == (600, 800, 3)
    drawn = (overlay != 90).any(axis=-1)
    nucleus = np.repeat(np.repeat(ids, 2, axis=0), 2, axis=1)
    assert (nucleus[drawn] > 0).all()
    assert len({tuple(color) for color in overlay[drawn & (nucleus == 1)]}) == 1
    assert tuple(overlay[drawn & (nucleus == 1)][0]) != tuple(overlay[drawn & (nucleus == 2)][0])
    assert not drawn[210:290, 210:290].any()


def test_an_empty_map_leaves_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1100, 30, 3)).astype(np.uint8)
    assert np.array_equal(draw_overlay(picture, np.zeros((1100, 30), np.uint32)), picture)


def test_a_thumbnail_gets_every_nth_pixel_of_the_map() -> None:
    ids = np.zeros((4001, 4001), np.uint32)
    ids[1000:3000, 1000:3000] = 7
    overlay = draw_overlay(np.zeros((2001, 2001, 3), np.uint8), ids)
    ys, xs = np.nonzero(overlay.any(axis=-1))
    assert (ys.min(), xs.min(), ys.max(), xs.max()) == (500, 500, 1499, 1499)
