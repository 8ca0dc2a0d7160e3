"""Outside of a region nothing is known, as beyond an image's edge."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucleipel.instances.training_targets import BOUNDARY, class_targets, distance_target

maps = arrays(np.uint32, (12, 14), elements=st.integers(0, 4))


@settings(deadline=None)
@given(maps, st.integers(1, 12), st.integers(1, 14), st.integers(1, 3))
def test_a_region_is_its_cut_out(ids, height: int, width: int, boundary_px: int) -> None:
    counted = np.zeros(ids.shape, bool)
    counted[:height, :width] = True
    part = ids[:height, :width]
    classes = class_targets(ids, boundary_px=boundary_px, counted=counted)
    assert np.array_equal(classes[:height, :width], class_targets(part, boundary_px=boundary_px))
    distance = distance_target(ids, counted=counted)
    assert np.array_equal(distance[:height, :width], distance_target(part))
    assert not distance[~counted].any()


@settings(deadline=None)
@given(maps, arrays(bool, (12, 14)))
def test_what_lies_outside_changes_nothing_inside(ids, counted) -> None:
    other = np.where(counted, ids, 5 - ids)
    for target in (class_targets, distance_target):
        settings_ = {"boundary_px": 2} if target is class_targets else {}
        one, two = (target(each, counted=counted, **settings_) for each in (ids, other))
        assert np.array_equal(one[counted], two[counted])


def test_what_a_nucleus_covers_outside_makes_no_difference() -> None:
    """Its id reaches outside of the region in one map, and not in the other."""
    counted = np.zeros((12, 14), bool)
    counted[0, [0, 2, 3]] = True
    ids = np.ones((12, 14), np.uint32)
    ids[0, :6] = [3, 1, 4, 4, 0, 0]
    other = np.where(counted, ids, 5 - ids)
    one, two = (distance_target(each, counted=counted) for each in (ids, other))
    assert np.array_equal(one[counted], two[counted])


@settings(deadline=None)
@given(maps)
def test_a_region_of_everything_changes_nothing(ids) -> None:
    everything = np.ones(ids.shape, bool)
    assert np.array_equal(class_targets(ids, boundary_px=1),
                          class_targets(ids, boundary_px=1, counted=everything))  # fmt: skip
    assert np.array_equal(distance_target(ids), distance_target(ids, counted=everything))


def test_a_nucleus_has_no_boundary_on_the_border_of_a_region() -> None:
    """Whether somebody drew it to its end or stopped there, is not asked."""
    ids = np.zeros((9, 12), int)
    ids[2:7, 3:9] = 1
    clipped = ids.copy()
    clipped[:, 6:] = 0
    counted = np.zeros(ids.shape, bool)
    counted[:, :6] = True
    for drawn in (ids, clipped):
        classes = class_targets(drawn, boundary_px=1, counted=counted)
        assert (classes[3:6, 5] != BOUNDARY).all()
        assert (classes[2:7, 3] == BOUNDARY).all()
        assert distance_target(drawn, counted=counted)[4, 3:6] == pytest.approx([1 / 3, 2 / 3, 1])
