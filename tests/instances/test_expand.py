"""Cells: the nearest nucleus, by brute force; the same in any part of the map."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucleipel.core.geometry import Box
from nucleipel.data.synthetic.generated_map import build_instance_map
from nucleipel.instances.expand import ExpandedMap, expand
from nucleipel.instances.table_of_map import in_raster_order

SMALL = arrays(np.uint32, (9, 11), elements=st.sampled_from([0] * 12 + [1, 2, 3]))


def nearest(labels: np.ndarray, distance: float) -> np.ndarray:
    ys, xs = np.nonzero(labels)
    cells = np.zeros_like(labels)
    for y, x in np.ndindex(labels.shape):
        squares = (ys - y) ** 2 + (xs - x) ** 2
        if len(ys) and squares.min() <= distance**2:
            cells[y, x] = labels[ys, xs][squares == squares.min()].min()
    return np.where(labels > 0, labels, cells)


@given(labels=SMALL, distance=st.sampled_from([0.0, 1.0, 1.5, 2.3, 4.0, 20.0]))
@settings(max_examples=60, deadline=None)
def test_every_pixel_near_a_nucleus_is_the_nearest_ones(labels, distance):
    assert (expand(labels, distance) == nearest(labels, distance)).all()


@given(
    y=st.integers(0, 90), x=st.integers(0, 110), height=st.integers(1, 40), width=st.integers(1, 40)
)
@settings(max_examples=30, deadline=None)
def test_a_part_is_that_of_the_whole(y, x, height, width):
    nuclei = in_raster_order(build_instance_map(Box(0, 0, 100, 120), seed=5, nuclei_per_cell=1))
    whole = expand(nuclei, 7.4)
    part = ExpandedMap(nuclei, 7.4)[y : y + height, x : x + width]
    assert (part == whole[y : y + height, x : x + width]).all()
    assert (whole[nuclei > 0] == nuclei[nuclei > 0]).all()
    assert len(np.unique(whole)) == len(np.unique(nuclei))
