"""The width of nuclei from a map of exact classes is that of the nuclei drawn."""

import math

import numpy as np
import pytest

from nucleipel.instances.nuclear_width import Rings, rings
from nucleipel.instances.training_targets import BACKGROUND, class_targets


def _map_of(ids: np.ndarray, boundary_px: int) -> np.ndarray:
    """Exact probabilities (4, H, W) of the classes of an instance map; no distance."""
    classes = class_targets(ids, boundary_px=boundary_px)
    return np.stack([255 * (classes == part) for part in range(4)]).astype(np.uint8)


def _discs(across_px: float, apart_px: int) -> np.ndarray:
    y, x = np.mgrid[: 3 * apart_px, : 3 * apart_px]
    number = 1 + 3 * (y // apart_px) + x // apart_px
    inside = np.hypot(y % apart_px - apart_px // 2, x % apart_px - apart_px // 2) < across_px / 2
    return np.pad(np.where(inside, number, 0), 4)  # none is cut by the edge


@pytest.mark.parametrize("across_px", [8, 12, 20, 40, 90])
@pytest.mark.parametrize("boundary_px", [1, 2])
def test_it_is_the_side_of_a_square_of_their_area(across_px: int, boundary_px: int) -> None:
    ids = _discs(across_px, apart_px=across_px + 6)
    side = math.sqrt((ids > 0).sum() / ids.max())
    assert rings(_map_of(ids, boundary_px)).width(boundary_px) == pytest.approx(side, rel=0.12)


def test_it_does_not_need_nuclei_apart() -> None:
    """Discs that touch are known by their rings, which lie between them."""
    ids = _discs(20, apart_px=20)
    side = math.sqrt((ids > 0).sum() / ids.max())
    assert rings(_map_of(ids, 2)).width(2) == pytest.approx(side, rel=0.12)


def test_parts_add_up_in_any_order() -> None:
    whole = _map_of(_discs(14, apart_px=20), 2)
    parts = [rings(whole[:, :31]), rings(whole[:, 31:, :7]), rings(whole[:, 31:, 7:])]
    assert sum(parts, Rings()) == sum(parts[::-1], Rings()) == rings(whole)


def test_without_nuclei_nothing_is_known() -> None:
    empty = np.zeros((4, 5, 5), np.uint8)
    empty[BACKGROUND] = 255
    assert math.isnan(rings(empty).width(2))
