"""Nuclei are a pure function of the probability map, and each of its own component only.

In drawings a digit or letter is a nucleus (or a component), `.` background.
"""

import string
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from skimage.measure import label as connected_components
from skimage.measure import regionprops

from nucleipel.instances import InstanceRule, Instances, segment_instances
from nucleipel.instances.training_targets import class_targets, one_hot
from nucleipel.metrics.scores import ImageScore

RULE = InstanceRule(
    foreground_percent=50,
    fill_holes_px=64,
    distance_px=15,
    distance_percent=50,
    smooth_px=2.0,
    persistence=0.03,
    min_area_px=1,
)
# splits at the least excuse, so that wrong ties would show
EAGER = replace(RULE, distance_px=4, smooth_px=0.6, persistence=0.002, fill_holes_px=6)
MARKS = "." + string.digits[1:] + string.ascii_lowercase
PATIENT = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


def read(drawing: str) -> np.ndarray:
    return np.array([[MARKS.index(mark) for mark in row] for row in drawing.split()], np.uint32)


def draw(instance_map: np.ndarray) -> str:
    return "\n".join("".join(MARKS[index] for index in row) for row in instance_map)


def certain(nucleus: np.ndarray) -> np.ndarray:
    """A (3, H, W) map that is sure of everything: interior or background."""
    interior = np.where(nucleus, 255, 0).astype(np.uint8)
    return np.stack([255 - interior, interior, np.zeros_like(interior)])


def disc(shape: tuple[int, int], y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def nasty_map(seed: int, shape: tuple[int, int], *, levels: int, smooth: float) -> np.ndarray:
    """Smoothed noise in a few gray levels: many components, plateaus and ties."""
    noise = np.random.default_rng(seed).normal(size=(2, *shape))
    blurred = scipy.ndimage.gaussian_filter(noise, (0, smooth, smooth))
    deviation = np.maximum(blurred.std(axis=(1, 2), keepdims=True), 1e-6)  # 0 for a single pixel
    nucleus, interior = blurred / deviation
    steps = np.clip(np.rint((nucleus + 1) / 2 * levels), 0, levels) * (255 / levels)
    inner = np.clip(np.rint((interior + 1) / 2 * levels), 0, levels) / levels
    planes = [255 - steps, steps * inner, steps * (1 - inner)]
    return np.stack([np.rint(plane) for plane in planes]).astype(np.uint8)


@st.composite
def nasty_maps(draw: st.DrawFn) -> np.ndarray:
    lengths = st.sampled_from([1, 2, 7, 13, 20, 28, 40])
    return nasty_map(
        draw(st.integers(0, 2**32 - 1)),
        (draw(lengths), draw(lengths)),
        levels=draw(st.sampled_from([1, 2, 3, 5])),
        smooth=draw(st.sampled_from([0, 0.7, 1.2, 2.0])),
    )


BY_SHAPE = replace(EAGER, persistence=0.3, concave_persistence=0.0, solidity_gain_percent=3)
RULES = st.sampled_from(
    [RULE, EAGER, replace(EAGER, persistence=0.0), replace(RULE, fill_holes_px=10**6), BY_SHAPE]
)


def components_of(probabilities: np.ndarray) -> np.ndarray:
    background, interior, boundary = probabilities[:3].astype(int)
    return connected_components(interior + boundary > background, connectivity=2)


def filled(component: np.ndarray) -> np.ndarray:
    """The component and everything that it encloses."""
    return scipy.ndimage.binary_fill_holes(component)


def partition(instances: Instances, where: np.ndarray) -> list[int]:
    """Which pixels of `where` belong together, in names that do not depend on other nuclei."""
    values = np.append(0, instances.map[where])  # 0 stays 0, also where all is nucleus
    return np.unique(values, return_inverse=True)[1].tolist()


# --- touching nuclei -----------------------------------------------------------------


def test_two_touching_discs_come_apart() -> None:
    left, right = disc((27, 46), 13, 14, 9), disc((27, 46), 13, 31, 9)
    together = left | right
    assert connected_components(together, connectivity=2).max() == 1, "one component"
    found = segment_instances(certain(together), rule=RULE).map
    assert found.max() == 2
    assert (found[left & ~right] == 1).all()
    assert (found[right & ~left] == 2).all()


def test_one_disc_stays_whole_and_so_does_a_long_nucleus() -> None:
    long = np.pad(np.ones((8, 30), bool), 4)
    for nucleus in (disc((31, 31), 15, 15, 12), long):
        found = segment_instances(certain(nucleus), rule=RULE).map
        assert np.array_equal(found, nucleus.astype(np.uint32))


def test_interior_separates_nuclei_that_the_outline_does_not() -> None:
    # one straight bar without a waist; only the boundary class in its middle separates it
    targets = np.ones((14, 40), np.uint8)
    targets[:, 19:21] = 2
    probabilities = (one_hot(np.pad(targets, 3)) * 255).astype(np.uint8)
    found = segment_instances(probabilities, rule=RULE).map
    assert found.max() == 2
    assert (found[3:-3, 3:22] == 1).all()
    assert (found[3:-3, 24:-3] == 2).all()


def test_persistence_decides() -> None:
    together = disc((27, 42), 13, 13, 9) | disc((27, 42), 13, 28, 9)
    counts = [
        len(segment_instances(certain(together), rule=replace(RULE, persistence=share)).table)
        for share in (0.001, 0.03, 0.5)
    ]
    assert counts[0] >= counts[1] == 2 > counts[2] == 1


def test_a_waist_parts_what_persistence_would_join() -> None:
    """Two discs with a waist between them, and a bar as long, whose saddle is as shallow."""
    discs = disc((27, 42), 13, 13, 9) | disc((27, 42), 13, 28, 9)
    bar = np.pad(np.ones((13, 33), bool), 4)
    bar_map = certain(bar)
    bar_map[1, :, 18:22], bar_map[2, :, 18:22] = 200, 55  # a shallow valley across its middle
    bar_map[1:, ~bar] = 0
    deaf = replace(RULE, persistence=0.5)
    seeing = replace(deaf, concave_persistence=0.03, solidity_gain_percent=5)
    for rule, parts in ((deaf, 1), (seeing, 2)):
        assert segment_instances(certain(discs), rule=rule).map.max() == parts
        assert segment_instances(bar_map, rule=rule).map.max() == 1
    assert segment_instances(bar_map, rule=replace(deaf, persistence=0.03)).map.max() == 2
    # as much as the waist makes of it, and no more
    for percent, parts in ((4, 2), (9, 1)):
        rule = replace(seeing, solidity_gain_percent=percent)
        assert segment_instances(certain(discs), rule=rule).map.max() == parts
    # above `persistence` it says nothing, and a part that would be dropped is not parted
    for other in ({"concave_persistence": 0.5}, {"min_area_px": 300}):
        assert segment_instances(certain(discs), rule=replace(seeing, **other)).map.max() == 1


def test_drawn_discs_come_back_from_their_targets() -> None:
    random = np.random.default_rng(3)
    shape = (240, 240)
    annotation = np.zeros(shape, np.uint32)
    drawn = 0
    for _ in range(400):
        y, x = random.uniform(0, 240, 2)
        new = disc(shape, y, x, random.uniform(7, 11))
        if not annotation[new].any() and new.sum() > 100:
            drawn += 1
            annotation[new] = drawn
    touching = connected_components(annotation > 0, connectivity=2).max()
    assert touching < drawn - 10, "many of them touch"
    probabilities = (one_hot(class_targets(annotation, boundary_px=2)) * 255).astype(np.uint8)
    found = segment_instances(probabilities, rule=replace(RULE, min_area_px=10)).map
    assert ImageScore.of(annotation, found).to_scores()["pq"] > 0.95


# --- ties ----------------------------------------------------------------------------


def test_the_line_between_equals_belongs_to_the_earlier() -> None:
    # mirror images about a middle column, which is as near to the one as to the other
    bells = disc((25, 47), 12, 13, 11) | disc((25, 47), 12, 33, 11)
    assert np.array_equal(bells, bells[:, ::-1])
    for nucleus, axis in ((bells, 1), (bells.T, 0)):
        found = segment_instances(certain(nucleus), rule=RULE).map
        assert found.max() == 2
        middle = np.take(found, 23, axis=axis)
        assert set(middle.tolist()) == {0, 1}


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (2, 2), (40, 40)])
def test_a_full_map_is_one_nucleus(shape: tuple[int, int]) -> None:
    found = segment_instances(certain(np.ones(shape, bool)), rule=RULE)
    assert (found.map == 1).all()
    assert found.table.area_px.tolist() == [shape[0] * shape[1]]
    assert found.table.mean_probability.tolist() == [1.0]


@pytest.mark.parametrize("value", [129, 200, 255])
def test_a_plateau_is_one_nucleus(value: int) -> None:
    nucleus = np.pad(np.ones((50, 60), bool), 2)
    probabilities = certain(nucleus)
    probabilities[0][nucleus], probabilities[1][nucleus] = 255 - value, value
    assert np.array_equal(segment_instances(probabilities, rule=RULE).map, nucleus)


# --- holes ---------------------------------------------------------------------------

RING = """
    .........
    .1111111.
    .1.....1.
    .1.....1.
    .1.....1.
    .1111111.
    .........
    """


def one_each(nucleus: np.ndarray, *, fill_holes_px: int) -> np.ndarray:
    """Components, filled, as nuclei: nothing is split at this persistence."""
    rule = replace(RULE, fill_holes_px=fill_holes_px, persistence=1.0)
    return segment_instances(certain(nucleus), rule=rule).map


def test_a_hole_is_filled_up_to_its_size() -> None:
    ring = read(RING)
    assert np.array_equal(one_each(ring > 0, fill_holes_px=14), ring)
    whole = one_each(ring > 0, fill_holes_px=15)
    assert draw(whole) == draw(np.pad(np.ones((5, 7), np.uint32), 1))


@pytest.mark.parametrize(
    "drawing",
    [
        pytest.param(
            """
            .........
            .1111111.
            .1.....1.
            .1..2..1.
            .1.....1.
            .1111111.
            .........
            """,
            id="holds another nucleus",
        ),
        pytest.param(
            """
            ..11111..
            ..1...1..
            ..1...1..
            """,
            id="open at the image edge",
        ),
        pytest.param(
            """
            111.222
            1.1.2.2
            1...2.2
            111.2.2
            """,
            id="open",
        ),
    ],
)
def test_this_hole_stays(drawing: str) -> None:
    assert draw(one_each(read(drawing) > 0, fill_holes_px=64)) == draw(read(drawing))


def test_holes_closed_by_corners_only_are_holes() -> None:
    # the four sides meet diagonally: one 8-connected component around a 4-connected hole
    diamond = read(
        """
        .......
        ...1...
        ..1.1..
        .1...1.
        ..1.1..
        ...1...
        .......
        """
    )
    assert one_each(diamond > 0, fill_holes_px=5).sum() == 8 + 5


def test_rings_in_rings() -> None:
    # the inner ring is filled; the outer ring's hole holds the inner ring and stays
    rings = read(
        """
        1111111
        1.....1
        1.222.1
        1.2.2.1
        1.222.1
        1.....1
        1111111
        """
    )
    rings_filled = rings.copy()
    rings_filled[3, 3] = 2
    assert draw(one_each(rings > 0, fill_holes_px=64)) == draw(rings_filled)


@PATIENT
@given(nasty_maps(), st.sampled_from([0, 1, 3, 1000]))
def test_without_splitting_nuclei_are_filled_components(
    probabilities: np.ndarray, fill_holes_px: int
) -> None:
    components = components_of(probabilities)
    expected = components.copy()
    holes = connected_components(components == 0, connectivity=1)
    for hole in range(1, holes.max() + 1):
        pixels = holes == hole
        around = scipy.ndimage.binary_dilation(np.pad(pixels, 1))
        beyond = around[0].any() or around[-1].any() or around[:, 0].any() or around[:, -1].any()
        owners = np.unique(components[around[1:-1, 1:-1] & ~pixels])
        if not beyond and len(owners) == 1 and pixels.sum() <= fill_holes_px:
            expected[pixels] = owners[0]
    rule = replace(RULE, fill_holes_px=fill_holes_px, persistence=1.0)
    assert np.array_equal(segment_instances(probabilities, rule=rule).map, expected)


# --- what is nucleus, what is dropped, how the rest is numbered -----------------------


def test_foreground_outweighs_background() -> None:
    # interior + boundary against background, in 0..255 each, without overflow
    pixels = [(128, 64, 64), (128, 64, 65), (0, 0, 0), (0, 1, 0), (255, 200, 100), (255, 127, 127)]
    probabilities = np.zeros((3, 1, 2 * len(pixels)), np.uint8)
    probabilities[:, 0, ::2] = np.array(pixels).T
    found = segment_instances(probabilities, rule=replace(RULE, fill_holes_px=0)).map
    assert (found[0, ::2] > 0).tolist() == [False, True, False, True, True, False]


@pytest.mark.parametrize(
    ("percent", "expected"), [(1, [1, 1, 1, 1]), (50, [0, 0, 1, 1]), (90, [0, 0, 0, 1])]
)
def test_foreground_percent(percent: int, expected: list[int]) -> None:
    nucleus = np.array([10, 127, 200, 240])
    probabilities = np.zeros((3, 1, 8), np.uint8)
    probabilities[0], probabilities[1, 0, ::2] = 255, nucleus
    probabilities[0, 0, ::2] = 255 - nucleus
    found = segment_instances(probabilities, rule=replace(RULE, foreground_percent=percent)).map
    assert (found[0, ::2] > 0).tolist() == [bool(value) for value in expected]


def test_small_nuclei_are_dropped_and_ids_closed_up() -> None:
    nuclei = read(
        """
        111..2..3333
        111.....3333
        111..4......
        .....44..555
        6........555
        """
    )
    found = segment_instances(certain(nuclei > 0), rule=replace(RULE, min_area_px=4))
    assert draw(found.map) == draw(
        read(
            """
            111.....2222
            111.....2222
            111.........
            .........333
            .........333
            """
        )
    )
    assert found.table.area_px.tolist() == [9, 8, 6]


@pytest.mark.parametrize(
    ("percent", "kept"), [(0, [1, 2, 3]), (60, [1, 2, 3]), (61, [2, 3]), (100, [3])]
)
def test_doubtful_nuclei_are_dropped(percent: int, kept: list[int]) -> None:
    nuclei = read("111..22..333")
    probabilities = certain(nuclei > 0)
    # means of exactly 60 %, a little less than 100 %, and 100 %
    probabilities[0] = np.array([[255, 102, 1, 0]], np.uint8)[0, nuclei]
    rule = replace(RULE, min_probability_percent=percent)
    found = segment_instances(probabilities, rule=rule)
    assert np.unique(nuclei[found.map > 0]).tolist() == kept
    assert len(found.table) == len(kept)
    assert (found.table.mean_probability >= percent / 100).all()


def test_ids_follow_first_pixels_not_boxes() -> None:
    # `1` starts first though `2` is farther up left for the most part; then by column
    nuclei = read(
        """
        ......1.......
        2.2...1..3....
        222..11.....4.
        222.111.......
        """
    )
    assert draw(one_each(nuclei > 0, fill_holes_px=0)) == draw(nuclei)


@PATIENT
@given(nasty_maps(), RULES)
def test_ids_and_shapes_in_general(probabilities: np.ndarray, rule: InstanceRule) -> None:
    found = segment_instances(probabilities, rule=rule)
    assert found.map.dtype == np.uint32
    assert found.map.shape == probabilities.shape[1:]
    ids, first = np.unique(found.map.ravel(), return_index=True)
    assert ids[ids > 0].tolist() == list(range(1, len(found.table) + 1))
    assert (np.diff(first[ids > 0]) > 0).all(), "raster order"
    components = components_of(probabilities)
    assert (found.map[components > 0] > 0).all()
    for index in ids[ids > 0]:
        nucleus = found.map == index
        assert connected_components(nucleus, connectivity=2).max() == 1
        assert len(np.unique(components[nucleus & (components > 0)])) == 1


# --- the table -----------------------------------------------------------------------


@PATIENT
@given(nasty_maps(), RULES)
def test_table_is_what_regionprops_measures(probabilities: np.ndarray, rule: InstanceRule) -> None:
    found = segment_instances(probabilities, rule=rule)
    nucleus = 1 - probabilities[0] / 255
    measured = regionprops(found.map.astype(np.int32), intensity_image=nucleus)
    assert len(found.table) == len(measured)
    for row, region in enumerate(measured):
        assert found.table.area_px[row] == region.area
        assert tuple(found.table.box_px[row]) == region.bbox
        assert found.table.centroid_px[row] == pytest.approx(region.centroid, rel=1e-12)
        assert found.table.mean_probability[row] == pytest.approx(region.intensity_mean)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (20, 30)])
def test_nothing_to_find(shape: tuple[int, int]) -> None:
    found = segment_instances(certain(np.zeros(shape, bool)), rule=RULE)
    assert found.map.dtype == np.uint32
    assert found.map.shape == shape
    assert not found.map.any()
    assert len(found.table) == 0
    assert found.table.box_px.shape == (0, 4)
    assert found.table.centroid_px.shape == (0, 2)


def test_everything_too_small() -> None:
    nuclei = np.eye(9, dtype=bool)
    found = segment_instances(certain(nuclei), rule=replace(RULE, min_area_px=10))
    assert not found.map.any()
    assert len(found.table) == 0


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (np.zeros((3, 4, 5), np.float32), r"float32 map of shape \(3, 4, 5\)"),
        (np.zeros((2, 4, 5), np.uint8), r"uint8 map of shape \(2, 4, 5\)"),
        (np.zeros((5, 4, 3), np.uint8), r"uint8 map of shape \(5, 4, 3\)"),
        (np.zeros((4, 5), np.uint8), r"uint8 map of shape \(4, 5\)"),
    ],
)
def test_another_map_is_refused(probabilities: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message + r"; expected \(3 or 4, H, W\) uint8"):
        segment_instances(probabilities, rule=RULE)


# --- pure function of the component --------------------------------------------------


@PATIENT
@given(nasty_maps(), RULES, st.integers(0, 2**32 - 1), st.data())
def test_pixels_beyond_a_component_change_nothing_in_it(
    probabilities: np.ndarray, rule: InstanceRule, seed: int, data: st.DataObject
) -> None:
    components = components_of(probabilities)
    if not components.any():
        return
    chosen = data.draw(st.integers(1, int(components.max())))
    box = _box_with_ring(components == chosen)
    changed = nasty_map(seed, components.shape, levels=3, smooth=1.0)
    changed[:, *box] = probabilities[:, *box]
    where = filled(components == chosen)
    before = segment_instances(probabilities, rule=rule)
    after = segment_instances(changed, rule=rule)
    assert partition(before, where) == partition(after, where)


@PATIENT
@given(nasty_maps(), RULES, st.integers(0, 9))
def test_each_component_cut_out_gives_the_same_nuclei(
    probabilities: np.ndarray, rule: InstanceRule, padding_px: int
) -> None:
    components = components_of(probabilities)
    whole = segment_instances(probabilities, rule=rule)
    for index in range(1, components.max() + 1):
        where = filled(components == index)
        box = _box_with_ring(components == index)
        cut = _only(probabilities, where)[:, *box]
        # what lies beyond an image edge is not known, so no background is put there
        pads = [
            (padding_px * (side.start > 0), padding_px * (side.stop < length))
            for side, length in zip(box, components.shape, strict=True)
        ]
        background = np.pad(cut[0], pads, constant_values=255)
        padded = np.stack([background, *(np.pad(plane, pads) for plane in cut[1:])])
        alone = segment_instances(padded, rule=rule)
        assert partition(whole, where) == partition(alone, np.pad(where[box], pads))


@pytest.mark.parametrize("seed", range(6))
def test_another_component_far_away_changes_nothing(seed: int) -> None:
    probabilities = nasty_map(seed, (150, 170), levels=4, smooth=2.5)
    components = components_of(probabilities)
    assert components.max() >= 20
    before = segment_instances(probabilities, rule=EAGER)
    random = np.random.default_rng(seed)
    for _ in range(4):
        victim = int(random.integers(1, components.max() + 1))
        changed = probabilities.copy()
        pixels = components == victim
        # still nucleus and still this component, but with other heights
        changed[1][pixels] = random.integers(129, 256, pixels.sum())
        changed[0][pixels] = 255 - changed[1][pixels]
        changed[2][pixels] = 0
        after = segment_instances(changed, rule=EAGER)
        others = filled(components > 0) & ~filled(pixels)
        assert partition(before, others) == partition(after, others)


def test_repeated_calls_agree() -> None:
    probabilities = nasty_map(11, (90, 80), levels=3, smooth=2)
    kept = probabilities.copy()
    one = segment_instances(probabilities, rule=EAGER)
    other = segment_instances(np.asfortranarray(probabilities), rule=EAGER)
    assert np.array_equal(one.map, other.map)
    assert np.array_equal(probabilities, kept), "the input is left as it was"


def _box_with_ring(component: np.ndarray) -> tuple[slice, slice]:
    """Its box and 1 px around it, on the image."""
    ys, xs = np.nonzero(component)
    return (
        slice(max(ys.min() - 1, 0), min(ys.max() + 2, component.shape[0])),
        slice(max(xs.min() - 1, 0), min(xs.max() + 2, component.shape[1])),
    )


def _only(probabilities: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The map with plain background outside `where`."""
    background = np.array([255, 0, 0], np.uint8)[:, None, None]
    return np.where(where, probabilities, background)
