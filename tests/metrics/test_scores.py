"""Scores worked by hand, and scores of stardist 0.9.2 on the same pictures.

`stardist_reference.json` holds what `stardist.matching` 0.9.2 says of the
pictures of `build_pairs`: the return value of `run_stardist`, written as JSON.
To make it again where stardist is installed (TensorFlow is not needed):
`json.dump(run_stardist(stardist.matching), ...)`. Where stardist can be
imported, the tests also ask it directly.

In drawings a digit or letter is a nucleus and `.` background.
"""

import hashlib
import json
import string
import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucleipel.metrics.matching import Overlap
from nucleipel.metrics.scores import AP_THRESHOLDS, ImageScore, mean, pool

MARKS = "." + string.digits[1:] + string.ascii_lowercase
NAMES = ["dice", "aji", "pq", "dq", "sq", *(f"ap@{threshold:.2f}" for threshold in AP_THRESHOLDS)]
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read(drawing: str) -> np.ndarray:
    return np.array([[MARKS.index(mark) for mark in row] for row in drawing.split()], np.uint32)


def scores(annotation: str, prediction: str) -> dict[str, float]:
    return ImageScore.of(read(annotation), read(prediction)).to_scores()


def ap(thresholds_and_values: dict[float, float]) -> dict[str, float]:
    """`ap@..` for all thresholds: each value holds up to its threshold."""
    limits = sorted(thresholds_and_values)
    return {
        f"ap@{threshold:.2f}": thresholds_and_values[
            next(limit for limit in limits if threshold <= limit)
        ]
        for threshold in AP_THRESHOLDS
    }


# --- by hand -------------------------------------------------------------------------


def test_one_of_each_kind() -> None:
    # 1-a: 6 px shared, union 8 + 8 - 6 = 10, IoU .6; 2-b: 2 shared, union 4, IoU .5;
    # 3 (3 px) is missed; c (5 px) is spurious
    found = scores(
        """
        1111......33
        1111.......3
        ............
        22..........
        22..........
        """,
        """
        .aaaa.......
        .aaaa.......
        ......ccccc.
        b...........
        b...........
        """,
    )
    assert found == pytest.approx(
        {
            "dice": 2 * (6 + 2) / ((8 + 4 + 3) + (8 + 2 + 5)),
            "aji": (6 + 2) / (10 + 4 + 3 + 5),
            "dq": 2 / (2 + 1 / 2 + 1 / 2),
            "sq": (0.6 + 0.5) / 2,
            "pq": 2 / 3 * 0.55,
            **ap({0.5: 2 / 4, 0.6: 1 / 5, 0.95: 0}),
        }
    )


def test_two_nuclei_predicted_as_one() -> None:
    # each shares 4 of 8 px: IoU exactly .5, twice, but one nucleus is matched only once;
    # AJI takes the same prediction for both: (4 + 4) / (8 + 8)
    found = scores("11112222", "aaaaaaaa")
    assert found == pytest.approx(
        {
            "dice": 1,
            "aji": 8 / 16,
            "dq": 1 / (1 + 1 / 2),
            "sq": 0.5,
            "pq": 1 / 3,
            **ap({0.5: 1 / 2, 0.95: 0}),
        }
    )


def test_one_nucleus_predicted_as_two() -> None:
    # IoU exactly .5 twice; AJI takes one of them, the other 4 px are spurious
    found = scores("11111111", "aaaabbbb")
    assert found == pytest.approx(
        {
            "dice": 1,
            "aji": 4 / (8 + 4),
            "dq": 1 / (1 + 1 / 2),
            "sq": 0.5,
            "pq": 1 / 3,
            **ap({0.5: 1 / 2, 0.95: 0}),
        }
    )


def test_a_poor_overlap_counts_in_aji_and_dice_only() -> None:
    # 1 px shared, union 7
    found = scores("1111...", "...aaaa")
    assert found == pytest.approx(
        {"dice": 2 / 8, "aji": 1 / 7, "dq": 0, "sq": 0, "pq": 0, **ap({0.95: 0})}
    )


def test_aji_takes_the_best_prediction_by_iou_not_by_overlap() -> None:
    # 1 (6 px) against a (12 px): 3 shared, union 15, IoU .2; against b (2 px): 2 shared,
    # union 6, IoU .33: b counts, and the 12 px of a are spurious
    found = scores(".........111111", "aaaaaaaaaaaa.bb")
    assert found["aji"] == pytest.approx(2 / (6 + 12))


def test_aji_lets_one_prediction_serve_two_nuclei() -> None:
    # 1-a: 3 shared, union 3 + 5 - 3 = 5; 2-a: 2 shared, union 3 + 5 - 2 = 6;
    # a is used, so nothing is spurious: (3 + 2) / (5 + 6)
    assert scores("111222", "aaaaa.")["aji"] == pytest.approx(5 / 11)


def test_the_smaller_id_settles_equal_ious_in_aji() -> None:
    # 1 (6 px): a 2 px inside it, union 6, IoU 1/3; b (6 px) shares 3, union 9, IoU 1/3.
    # a counts: 2 / (6 + the 6 px of b); with the ids exchanged b does: 3 / (9 + 2)
    assert scores(".111111...", ".aa.bbbbbb")["aji"] == pytest.approx(2 / 12)
    assert scores(".111111...", ".bb.aaaaaa")["aji"] == pytest.approx(3 / 11)


@pytest.mark.parametrize("shared", range(10, 21))
def test_a_threshold_is_reached_by_its_exact_iou(shared: int) -> None:
    # IoU = shared / 20, the AP thresholds to the last bit
    annotation, prediction = np.ones((1, 20), np.uint32), np.zeros((1, 20), np.uint32)
    prediction[0, :shared] = 1
    found = ImageScore.of(annotation, prediction).to_scores()
    assert found["sq"] == shared / 20
    for threshold in AP_THRESHOLDS:
        assert found[f"ap@{threshold:.2f}"] == (threshold <= shared / 20)


def test_just_under_one_half_is_no_match() -> None:
    # 49 of 99 px
    annotation, prediction = np.ones((1, 99), np.uint32), np.zeros((1, 99), np.uint32)
    prediction[0, :49] = 1
    found = ImageScore.of(annotation, prediction).to_scores()
    assert (found["pq"], found["ap@0.50"]) == (0, 0)
    assert found["aji"] == pytest.approx(49 / 99)


def test_below_one_half_as_many_pairs_as_can_be() -> None:
    # 1 (5 px), 2 (10 px), a (9 px), b (4 px); IoU: 1-a 3/11, 2-a 6/13, 2-b 4/10.
    # The best pair first (2-a) would leave 1 and b alone; 1-a with 2-b are two.
    annotation = read("111112222222222")
    prediction = read("..aaaaaaaaabbbb")
    score = ImageScore.of(annotation, prediction, ap_thresholds=[0.25, 0.3, 0.45])
    assert score.matches == {0.25: 2, 0.3: 1, 0.45: 1}
    found = score.to_scores()
    assert (found["ap@0.25"], found["ap@0.30"]) == pytest.approx((2 / 2, 1 / 3))
    assert sorted(Overlap.of(annotation, prediction).matched_ious(0.25)) == pytest.approx(
        [3 / 11, 4 / 10]
    )


def test_overlap_by_hand() -> None:
    overlap = Overlap.of(read("115.\n1155"), read("3388\n..88"))
    assert overlap.annotated_area.tolist() == [4, 3]
    assert overlap.predicted_area.tolist() == [2, 4]
    pairs = zip(
        overlap.annotated, overlap.predicted, overlap.intersection, overlap.iou, strict=True
    )
    assert list(pairs) == [(0, 0, 2, 2 / 4), (1, 1, 3, 3 / 4)]


# --- empty sides ---------------------------------------------------------------------


def test_nothing_annotated_and_nothing_predicted() -> None:
    assert scores("...\n...", "...\n...") == dict.fromkeys(NAMES, 1.0)


def test_one_side_empty() -> None:
    assert scores("...\n...", ".11\n..2") == dict.fromkeys(NAMES, 0.0)
    assert scores(".11\n..2", "...\n...") == dict.fromkeys(NAMES, 0.0)


def test_perfect() -> None:
    drawing = "11.22\n1..2.\n.3333"
    assert scores(drawing, drawing) == dict.fromkeys(NAMES, 1.0)


def test_no_pixel_of_background() -> None:
    assert scores("1122", "1122") == dict.fromkeys(NAMES, 1.0)


# --- several images ------------------------------------------------------------------


def test_pool_adds_up_before_it_divides() -> None:
    # one: a single nucleus, found. two: three nuclei (4, 4, 1 px), none found, 2 px spurious.
    one = ImageScore.of(read("1111"), read("1111"))
    two = ImageScore.of(read("1111.2222.3..."), read("............11"))
    assert mean([one, two]) == pytest.approx(dict.fromkeys(NAMES, 0.5))
    assert pool([one, two]) == pytest.approx(
        {
            "dice": 2 * 4 / ((4 + 9) + (4 + 2)),
            "aji": 4 / (4 + 9 + 2),
            "dq": 1 / (1 + 3 / 2 + 1 / 2),
            "sq": 1,
            "pq": 1 / 3,
            **ap({0.95: 1 / 5}),
        }
    )


def test_pool_weighs_matches_by_their_number() -> None:
    # IoU 1, 1 in one image, 1/2 in the other: SQ (1 + 1 + .5) / 3 against (1 + .5) / 2
    one = ImageScore.of(read("11.22"), read("11.22"))
    two = ImageScore.of(read("1111"), read("11.."))
    assert pool([one, two])["sq"] == pytest.approx(2.5 / 3)
    assert mean([one, two])["sq"] == pytest.approx(1.5 / 2)


def test_an_empty_image_has_no_weight_in_the_pool() -> None:
    nothing = ImageScore.of(read("...."), read("...."))
    half = ImageScore.of(read("1111.2222"), read("1111....."))
    assert pool([nothing, half]) == half.to_scores()
    assert pool([nothing, nothing]) == dict.fromkeys(NAMES, 1.0)
    assert mean([nothing, half])["dice"] == pytest.approx((1 + half.to_scores()["dice"]) / 2)


def test_of_one_image_pool_and_mean_are_its_scores() -> None:
    score = ImageScore.of(read("111.22"), read("11..22"))
    assert pool([score]) == mean([score]) == score.to_scores()


def test_chosen_thresholds() -> None:
    score = ImageScore.of(read("1111"), read("111."), ap_thresholds=(0.75, 0.8))
    found = score.to_scores()
    assert {name: value for name, value in found.items() if name.startswith("ap")} == {
        "ap@0.75": 1,
        "ap@0.80": 0,
    }
    assert pool([score, score])["ap@0.75"] == 1


# --- what does not matter, and what is refused ----------------------------------------


def test_shapes_differ() -> None:
    with pytest.raises(ValueError, match=r"shapes differ: \(2, 3\) and \(3, 2\)"):
        ImageScore.of(np.zeros((2, 3), np.uint32), np.zeros((3, 2), np.uint32))


SMALL_MAPS = hnp.arrays(np.uint32, (6, 8), elements=st.integers(0, 5))


@PATIENT
@given(SMALL_MAPS, SMALL_MAPS, st.lists(st.integers(1, 2**32 - 1), min_size=10, unique=True))
def test_only_which_ids_differ_matters(
    annotation: np.ndarray, prediction: np.ndarray, ids: list[int]
) -> None:
    before = ImageScore.of(annotation, prediction).to_scores()
    any_order = np.array([0, *ids[:5]], np.uint32)
    with_gaps = np.array([0, *sorted(ids[5:10])], np.uint32)
    after = ImageScore.of(any_order[annotation], with_gaps[prediction]).to_scores()
    assert after == pytest.approx(before)
    # AJI settles equal IoUs by the order of predicted ids, all others do not know it
    reordered = ImageScore.of(annotation, any_order[prediction]).to_scores()
    del before["aji"], reordered["aji"]
    assert reordered == pytest.approx(before)


@PATIENT
@given(SMALL_MAPS, SMALL_MAPS)
def test_sides_are_alike_in_all_but_aji(annotation: np.ndarray, prediction: np.ndarray) -> None:
    one = ImageScore.of(annotation, prediction).to_scores()
    other = ImageScore.of(prediction, annotation).to_scores()
    del one["aji"], other["aji"]
    assert one == pytest.approx(other)


@PATIENT
@given(SMALL_MAPS, SMALL_MAPS)
def test_scores_lie_between_0_and_1_and_ap_falls(
    annotation: np.ndarray, prediction: np.ndarray
) -> None:
    found = ImageScore.of(annotation, prediction).to_scores()
    assert list(found) == NAMES
    assert all(0 <= value <= 1 for value in found.values())
    values = [found[f"ap@{threshold:.2f}"] for threshold in AP_THRESHOLDS]
    assert values == sorted(values, reverse=True)
    assert found["pq"] == pytest.approx(found["dq"] * found["sq"])


@PATIENT
@given(SMALL_MAPS, SMALL_MAPS)
def test_small_ids_are_counted_as_large_ones(
    annotation: np.ndarray, prediction: np.ndarray
) -> None:
    shift = np.uint32(2**30)
    large = np.where(annotation > 0, annotation.astype(np.uint32) + shift, 0)
    assert ImageScore.of(large, prediction) == ImageScore.of(annotation, prediction)


def test_dtypes_mix() -> None:
    annotation, prediction = read("1111.2222"), read("111..2222")
    expected = ImageScore.of(annotation, prediction)
    for one, other in [(np.uint8, np.int64), (np.uint64, np.int32), (np.uint16, np.uint32)]:
        assert ImageScore.of(annotation.astype(one), prediction.astype(other)) == expected


def test_one_tie_on_a_slide_takes_no_matrix_of_all_nuclei() -> None:
    # one of 1500 dominoes is found as two halves, IoU .5 each
    annotation = np.zeros((1500, 3), np.uint32)
    annotation[:, :2] = np.arange(1, 1501)[:, None]
    prediction = annotation.copy()
    prediction[700, 1] = 1501
    overlap = Overlap.of(annotation, prediction)
    tracemalloc.start()
    matched = overlap.matched_ious(0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(matched) == [0.5] + [1.0] * 1499
    assert peak < 2e6, "bytes; a matrix of all pairs takes 18e6"


# --- as stardist ---------------------------------------------------------------------


def build_pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """Annotations and predictions that are found well, badly, merged, split, or not at all."""
    random = np.random.default_rng(20)
    pairs = [_discs(random) for _ in range(4)]
    pairs.append((pairs[0][0], np.zeros_like(pairs[0][0])))

    # rows of 20 px found to 10/20 .. 20/20, and one each found as two halves, and two as one
    annotation, prediction = np.zeros((2, 28, 20), np.int32)
    for row, shared in enumerate(range(10, 21)):
        annotation[2 * row] = prediction[2 * row, :shared] = row + 1
    annotation[24], prediction[24, :10], prediction[24, 10:] = 30, 31, 32
    annotation[26, :10], annotation[26, 10:], prediction[26] = 40, 41, 42
    pairs.append((annotation, prediction))
    return pairs


def _discs(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    shape = (96, 120)
    annotation, prediction = np.zeros((2, *shape), np.int32)
    for index in range(1, 50):
        y, x, radius = random.integers([0, 0, 4], [*shape, 10])
        fate, dy, dx, wider = random.integers([0, -1, -1, -1], [12, 3, 2, 2])
        new = _disc(shape, y, x, radius) & (annotation == 0)
        if new.sum() < 20:
            continue
        if fate != 0:  # else spurious
            annotation[new] = 7 * index + 2
        if fate != 1:  # else missed
            name = index - 1 if fate == 2 else index  # may join the nucleus before it
            found = _disc(shape, y + dy, x + dx, radius + wider) & (prediction == 0)
            prediction[found] = 1000 - 3 * name
    return annotation, prediction


def _disc(shape: tuple[int, int], y: int, x: int, radius: int) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def run_stardist(matching: ModuleType) -> dict[str, Any]:
    """Scores of `build_pairs` by `stardist.matching`: each image, and all of them pooled."""
    pairs = build_pairs()
    each = [matching.matching(*pair, thresh=AP_THRESHOLDS) for pair in pairs]
    pooled = matching.matching_dataset(
        *zip(*pairs, strict=True), thresh=AP_THRESHOLDS, by_image=False, show_progress=False
    )
    return {
        "pictures_sha256": _digest(pairs),
        "images": [_as_reference(image) for image in each],
        "pooled": _as_reference(pooled),
    }


def _as_reference(results: Any) -> dict[str, Any]:
    at_half = results[0]
    return {
        "n_true": int(at_half.n_true),
        "n_pred": int(at_half.n_pred),
        "tp": [int(result.tp) for result in results],
        "accuracy": [float(result.accuracy) for result in results],
        "panoptic_quality": float(at_half.panoptic_quality),
        "f1": float(at_half.f1),
        "mean_matched_score": float(at_half.mean_matched_score),
    }


def _digest(pairs: list[tuple[np.ndarray, np.ndarray]]) -> str:
    digest = hashlib.sha256()
    for pair in pairs:
        for picture in pair:
            digest.update(picture.astype("<i4").tobytes())
    return digest.hexdigest()


def _check(found: dict[str, float], reference: dict[str, Any]) -> None:
    ours = {name: found[name] for name in NAMES if name not in ("dice", "aji")}
    theirs = {
        "pq": reference["panoptic_quality"],
        "dq": reference["f1"],
        "sq": reference["mean_matched_score"],
        **dict(zip(NAMES[5:], reference["accuracy"], strict=True)),
    }
    assert ours == pytest.approx(theirs, rel=1e-6)  # stardist's IoU is float32


def _check_all(reference: dict[str, Any]) -> None:
    score_of_each = [ImageScore.of(*pair) for pair in build_pairs()]
    for score, image in zip(score_of_each, reference["images"], strict=True):
        assert (score.annotated_count, score.predicted_count) == (image["n_true"], image["n_pred"])
        assert list(score.matches.values()) == image["tp"]
        _check(score.to_scores(), image)
    _check(pool(score_of_each), reference["pooled"])


def _stored_reference() -> dict[str, Any]:
    file = Path(__file__).with_name("stardist_reference.json")
    stored: dict[str, Any] = json.loads(file.read_text())
    return stored


def test_as_stardist_0_9_2_says() -> None:
    reference = _stored_reference()
    assert _digest(build_pairs()) == reference["pictures_sha256"], "NumPy drew other pictures"
    _check_all(reference)


def test_as_stardist_says_now() -> None:
    matching = pytest.importorskip("stardist.matching", exc_type=ImportError)
    answers = run_stardist(matching)
    _check_all(answers)
    stored = _stored_reference()
    for now, then in zip(
        [*answers["images"], answers["pooled"]], [*stored["images"], stored["pooled"]], strict=True
    ):
        assert now == {key: pytest.approx(value) for key, value in then.items()}
