"""Scores inside of a region: hand-drawn borders, and sums that do not depend on windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucleipel.metrics.matching import Overlap, OverlapCounter
from nucleipel.metrics.scores import ImageScore


def draw(text: str) -> np.ndarray:
    """Digits are ids; dots background."""
    rows = text.split()
    return np.array([[0 if c == "." else int(c) for c in row] for row in rows])


INSIDE = draw("11111...") > 0
"""Of eight columns the first five were annotated."""


def _score(annotation: str, prediction: str) -> ImageScore:
    shape = draw(annotation).shape
    counted = np.broadcast_to(INSIDE, shape)
    return ImageScore.of(draw(annotation), draw(prediction), counted)


def _counts(score: ImageScore) -> tuple[int, int, int]:
    return score.annotated_count, score.predicted_count, score.matched_count


@pytest.mark.parametrize(
    ("annotation", "prediction", "counts", "why"),
    [
        (".11.....", ".22.....", (1, 1, 1), "inside, and found"),
        ("........", "......22", (0, 0, 0), "what is predicted outside does not count"),
        ("......11", "........", (0, 0, 0), "nor what is missed there"),
        ("...111..", "...222..", (1, 1, 1), "two of three pixels inside"),
        ("....111.", "....222.", (0, 0, 0), "one of three inside"),
        ("....11..", "....22..", (0, 0, 0), "half inside is not more than half"),
        ("...111..", "........", (1, 0, 0), "mostly inside, and missed"),
        ("........", "...222..", (0, 1, 0), "mostly inside, and invented"),
        ("....111.", "........", (0, 0, 0), "mostly outside, and missed: nobody can say"),
        ("........", "....222.", (0, 0, 0), "mostly outside, and invented: nobody can say"),
        ("...11...", "...22222", (1, 1, 1), "drawn up to the border, found beyond it"),
        ("...11111", "...22...", (0, 0, 0), "the match of a nucleus that does not count"),
        (".1.33...", ".2.44444", (2, 2, 2), "one on the border does not change another"),
    ],
)
def test_a_nucleus_on_the_border(
    annotation: str, prediction: str, counts: tuple[int, int, int], why: str
) -> None:
    assert _counts(_score(annotation, prediction)) == counts, why


def test_iou_is_that_of_the_pixels_inside() -> None:
    score = _score("..111111\n..111111", "..1.1..1\n..11111.")
    # 6 px inside of 12: the nucleus does not count; cut after one more column it does
    assert _counts(score) == (0, 0, 0)
    score = _score("..1111..\n..1111..", "..1.1..1\n..11111.")
    assert _counts(score) == (1, 1, 1)
    assert score.matched_iou == pytest.approx(5 / 6)


def test_dice_is_that_of_all_pixels_inside() -> None:
    score = _score("11..1111\n........", "1...1111\n....11..")
    assert (score.annotated_px, score.predicted_px, score.shared_px) == (3, 3, 2)


maps = arrays(np.int64, (9, 11), elements=st.integers(0, 6))
masks = arrays(bool, (9, 11))


@given(maps, maps)
def test_a_region_of_everything_changes_nothing(annotation, prediction) -> None:
    everything = np.ones(annotation.shape, bool)
    assert ImageScore.of(annotation, prediction, everything) == ImageScore.of(
        annotation, prediction
    )


@settings(deadline=None)
@given(maps, maps, masks, st.sets(st.integers(1, 8)), st.sets(st.integers(1, 10)))
def test_windows_add_up_to_the_image(annotation, prediction, counted, rows, columns) -> None:
    counter = OverlapCounter()
    for y in np.split(np.arange(9), sorted(rows)):
        for x in np.split(np.arange(11), sorted(columns)):
            part = np.ix_(y, x)
            counter.add(annotation[part], prediction[part], counted[part])
    whole = Overlap.of(annotation, prediction, counted)
    assert ImageScore.of_overlap(counter.overlap()) == ImageScore.of_overlap(whole)


@given(maps, maps, st.integers(1, 9), st.integers(1, 11))
def test_where_nothing_crosses_the_border_a_region_is_its_cut_out(
    annotation, prediction, height, width
) -> None:
    inside = np.zeros(annotation.shape, bool)
    inside[:height, :width] = True
    # ids of their own beyond the border, so that none crosses it
    annotation, prediction = (ids + 10 * ((ids > 0) & ~inside) for ids in (annotation, prediction))
    cut = ImageScore.of(annotation[:height, :width], prediction[:height, :width])
    assert ImageScore.of(annotation, prediction, inside) == cut


def test_regions_that_share_a_border_count_each_nucleus_once() -> None:
    annotation, prediction = draw("1112233.\n11.2244."), draw("111224.3\n1..22444")
    left = np.broadcast_to(draw("11110000") > 0, annotation.shape)
    parts = [Overlap.of(annotation, prediction, side) for side in (left, ~left)]
    # the second is cut in two halves: neither side counts it, all others one
    assert [len(part.annotated_area) for part in parts] == [1, 2]


def test_nothing_at_all() -> None:
    nothing = OverlapCounter().overlap()
    assert set(ImageScore.of_overlap(nothing).to_scores().values()) == {1.0}
    zeros = np.zeros((3, 3), int)
    assert ImageScore.of(zeros, zeros, np.zeros((3, 3), bool)).annotated_count == 0
