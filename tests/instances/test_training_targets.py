"""Class pictures next to the instance maps they belong to, all drawn by hand.

In the maps a digit is a nucleus's id and `.` background; in the class pictures
`o` is interior, `#` boundary, `.` background.
"""

import numpy as np
import pytest

from nucleipel.instances.training_targets import (
    BACKGROUND,
    BOUNDARY,
    CLASSES,
    INTERIOR,
    class_targets,
    distance_target,
    one_hot,
)

ONE_PX_IN_OPEN_GROUND = (
    """
    .........
    .1111111.
    .1111111.
    .1111111.
    .1111111.
    .........
    """,
    """
    .........
    .#######.
    .#ooooo#.
    .#ooooo#.
    .#######.
    .........
    """,
)

TWO_TOUCH = (
    """
    ............
    .1111122222.
    .1111122222.
    .1111122222.
    .1111122222.
    ............
    """,
    """
    ............
    .##########.
    .#ooo##ooo#.
    .#ooo##ooo#.
    .##########.
    ............
    """,
)

TOUCH_AT_A_CORNER = (
    # with a radius of 1 px the diagonal neighbor (1.41 px away) is too far to matter
    """
    111...
    111...
    111...
    ...222
    ...222
    ...222
    """,
    """
    oo#...
    oo#...
    ###...
    ...###
    ...#oo
    ...#oo
    """,
)

CUT_BY_THE_IMAGE_EDGE = (
    # 1 fills a corner, 2 an edge: no boundary where the image ends
    """
    1111..22
    1111..22
    1111..22
    ......22
    33333333
    33333333
    """,
    """
    ooo#..#o
    ooo#..#o
    ####..#o
    ......##
    ########
    oooooooo
    """,
)

SINGLE_PIXELS = (
    """
    1.....
    ...2..
    ......
    .33...
    .....4
    """,
    """
    #.....
    ...#..
    ......
    .##...
    .....#
    """,
)

HOLE = (
    """
    1111111
    1111111
    1111111
    111.111
    1111111
    1111111
    1111111
    """,
    """
    ooooooo
    ooooooo
    ooo#ooo
    oo#.#oo
    ooo#ooo
    ooooooo
    ooooooo
    """,
)

WIDE_IN_OPEN_GROUND = (
    """
    ..........
    .11111111.
    .11111111.
    .11111111.
    .11111111.
    .11111111.
    .11111111.
    ..........
    """,
    """
    ..........
    .########.
    .########.
    .##oooo##.
    .##oooo##.
    .########.
    .########.
    ..........
    """,
)

WIDE_TOUCH_AT_AN_EDGE = (
    """
    1111111222222
    1111111222222
    1111111222222
    """,
    """
    ooooo####oooo
    ooooo####oooo
    ooooo####oooo
    """,
)

WIDE_SINGLE_PIXEL = (
    """
    .....
    ..1..
    .....
    """,
    """
    .....
    ..#..
    .....
    """,
)

WIDE_HOLE = (
    # the disc of 2 px: two steps straight or one diagonal step away, no farther
    """
    1111111
    1111111
    1111111
    111.111
    1111111
    1111111
    1111111
    """,
    """
    ooooooo
    ooo#ooo
    oo###oo
    o##.##o
    oo###oo
    ooo#ooo
    ooooooo
    """,
)


def instance_map(drawing: str) -> np.ndarray:
    rows = drawing.split()
    return np.array([[0 if mark == "." else int(mark) for mark in row] for row in rows], np.uint32)


def class_picture(drawing: str) -> np.ndarray:
    classes = {".": BACKGROUND, "o": INTERIOR, "#": BOUNDARY}
    return np.array([[classes[mark] for mark in row] for row in drawing.split()], np.uint8)


def check(ids: np.ndarray, expected: np.ndarray, *, boundary_px: int) -> None:
    targets = class_targets(ids, boundary_px=boundary_px)
    assert targets.dtype == np.uint8
    assert targets.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("drawing", "expected"),
    [
        pytest.param(*ONE_PX_IN_OPEN_GROUND, id="open ground"),
        pytest.param(*TWO_TOUCH, id="two touch"),
        pytest.param(*TOUCH_AT_A_CORNER, id="touch at a corner"),
        pytest.param(*CUT_BY_THE_IMAGE_EDGE, id="cut by the image edge"),
        pytest.param(*SINGLE_PIXELS, id="single pixels"),
        pytest.param(*HOLE, id="hole"),
    ],
)
def test_boundary_of_1_px(drawing: str, expected: str) -> None:
    check(instance_map(drawing), class_picture(expected), boundary_px=1)


@pytest.mark.parametrize(
    ("drawing", "expected"),
    [
        pytest.param(*WIDE_IN_OPEN_GROUND, id="open ground"),
        pytest.param(*WIDE_TOUCH_AT_AN_EDGE, id="touch at an edge"),
        pytest.param(*WIDE_SINGLE_PIXEL, id="single pixel"),
        pytest.param(*WIDE_HOLE, id="hole"),
    ],
)
def test_boundary_of_2_px(drawing: str, expected: str) -> None:
    check(instance_map(drawing), class_picture(expected), boundary_px=2)


@pytest.mark.parametrize("boundary_px", [1, 2, 3, 4])
def test_boundary_is_as_wide_across_as_along(boundary_px: int) -> None:
    side = 4 * boundary_px + 3
    ids = np.ones((side, side), np.uint32)
    ids[side // 2, side // 2] = 0
    y, x = np.indices(ids.shape) - side // 2
    expected = np.where(y**2 + x**2 <= boundary_px**2, BOUNDARY, INTERIOR)
    expected[side // 2, side // 2] = BACKGROUND
    check(ids, expected, boundary_px=boundary_px)


def test_interior_and_boundary_are_exactly_the_nuclei() -> None:
    ids = np.random.default_rng(0).integers(0, 5, (40, 40), np.uint32)
    for boundary_px in (1, 2, 3):
        targets = class_targets(ids, boundary_px=boundary_px)
        assert np.array_equal(targets != BACKGROUND, ids > 0)


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param([0, 3, 17], id="gaps"),
        pytest.param([0, 2, 1], id="order"),
        pytest.param([0, 65_536, 131_072], id="same low 16 bits"),
        pytest.param([0, 2**24, 2**24 + 1], id="equal as float32"),
        pytest.param([0, 2**32 - 1, 2**32 - 2], id="largest"),
    ],
)
def test_only_which_ids_differ_matters(ids: list[int]) -> None:
    drawing, expected = TWO_TOUCH
    renamed = np.array(ids, np.uint32)[instance_map(drawing)]
    check(renamed, class_picture(expected), boundary_px=1)


def test_more_nuclei_than_16_bits_count() -> None:
    # 272 x 272 nuclei of 3 x 3 px side by side, each with one interior pixel
    ids = np.arange(1, 272**2 + 1, dtype=np.uint32).reshape(272, 272)
    targets = class_targets(ids.repeat(3, axis=0).repeat(3, axis=1), boundary_px=1)
    interior = np.zeros((816, 816), bool)
    interior[1::3, 1::3] = True
    # those cut by the image edge are not closed there
    interior[0, 1::3] = interior[-1, 1::3] = interior[1::3, 0] = interior[1::3, -1] = True
    interior[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    assert ids.max() > 65_535
    assert np.array_equal(targets == INTERIOR, interior)
    assert np.array_equal(targets == BOUNDARY, ~interior)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_every_integer_dtype(dtype: type) -> None:
    drawing, expected = CUT_BY_THE_IMAGE_EDGE
    check(instance_map(drawing).astype(dtype), class_picture(expected), boundary_px=1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (4, 3)])
def test_empty_and_full_maps(shape: tuple[int, int]) -> None:
    nobody = np.zeros(shape, np.uint32)
    check(nobody, np.full(shape, BACKGROUND), boundary_px=2)
    # one nucleus that fills the image shows no boundary at all
    check(nobody + np.uint32(9), np.full(shape, INTERIOR), boundary_px=2)


def test_one_hot_has_one_class_a_pixel() -> None:
    targets = class_picture(CUT_BY_THE_IMAGE_EDGE[1])
    annotation = one_hot(targets)
    assert annotation.dtype == np.float32
    assert annotation.shape == (len(CLASSES), *targets.shape)
    assert (annotation.sum(axis=0) == 1).all()
    assert np.array_equal(annotation.argmax(axis=0), targets)


def test_distance_is_a_fraction_of_the_greatest_in_the_own_nucleus() -> None:
    drawing = instance_map(
        """
        ..............
        .11111222222..
        .11111222222..
        .11111222222..
        .11111........
        .11111...3....
        ..............
        """
    )
    expected = np.zeros(drawing.shape)
    expected[1:6, 1:6] = 1  # of at most 3 px
    expected[2:5, 2:5] = 2
    expected[3, 3] = 3
    expected /= 3
    expected[1:4, 6:12] = 0.5  # of at most 2 px
    expected[2, 7:11] = 1
    expected[5, 9] = 1
    assert distance_target(drawing) == pytest.approx(expected, abs=1e-6)


def test_distance_does_not_know_what_lies_beyond_the_image() -> None:
    drawing = instance_map(
        """
        111.22
        111.22
        111.22
        """
    )
    third, half = 1 / 3, 1 / 2
    row = [1, 2 * third, third, 0, half, 1]
    assert distance_target(drawing) == pytest.approx(np.array([row] * 3), abs=1e-6)
    assert (distance_target(np.full((4, 5), 9, np.uint32)) == 1).all()
    assert not distance_target(np.zeros((4, 5), np.uint32)).any()
