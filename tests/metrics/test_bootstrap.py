"""Intervals of differences and of scores: known cases, clusters, doubts that must not shrink."""

from collections.abc import Sequence

import numpy as np
import pytest

from nucleipel.metrics.bootstrap import paired_bootstrap, source_bootstrap


def test_equal_differences_leave_no_doubt() -> None:
    found = paired_bootstrap(np.full((3, 5), 0.25), ["a", "a", "b", "c", "d"])
    assert (found.mean, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_the_same_input_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=(2, 30))
    sources = [str(index) for index in range(30)]
    assert paired_bootstrap(values, sources) == paired_bootstrap(values, sources)


def test_one_seed_of_independent_images_is_the_textbook_interval() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, size=(1, 400))
    found = paired_bootstrap(values, [str(index) for index in range(400)])
    half = 1.96 * values.std() / 20
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.01)
    assert found.high == pytest.approx(values.mean() + half, abs=0.01)


def test_images_of_one_source_are_not_independent() -> None:
    of_sources = np.random.default_rng(0).normal(size=20)
    values = np.repeat(of_sources, 10)[None]
    clustered = paired_bootstrap(values, [str(index // 10) for index in range(200)])
    naive = paired_bootstrap(values, [str(index) for index in range(200)])
    alone = paired_bootstrap(of_sources[None], [str(index) for index in range(20)])
    assert clustered.high - clustered.low > 2 * (naive.high - naive.low)
    assert clustered.high - clustered.low == pytest.approx(alone.high - alone.low, rel=1e-6)


def test_seeds_that_disagree_widen_the_interval() -> None:
    images = np.random.default_rng(0).normal(size=40)
    images -= images.mean()
    sources = [str(index) for index in range(40)]
    agreed = paired_bootstrap(np.stack([images] * 4), sources)
    shifts = np.array([-2.0, -1, 1, 2])[:, None]
    disagreed = paired_bootstrap(images + shifts, sources)
    assert disagreed.mean == pytest.approx(agreed.mean)
    assert disagreed.high - disagreed.low > 2 * (agreed.high - agreed.low)


def test_a_source_weighs_as_many_images_as_it_has() -> None:
    found = paired_bootstrap(np.array([[1.0, 1, 1, 0]]), ["a", "a", "a", "b"])
    assert (found.mean, found.low, found.high) == pytest.approx((0.75, 0, 1))


@pytest.mark.parametrize(
    ("shape", "sources"), [((2, 3), ["a", "b"]), ((0, 2), ["a", "b"]), ((3,), ["a"] * 3)]
)
def test_shapes_that_do_not_fit(shape: tuple[int, ...], sources: list[str]) -> None:
    with pytest.raises(ValueError, match=r"expected \(seeds, images\)"):
        paired_bootstrap(np.zeros(shape), sources)


def test_scores_of_whole_sources_are_drawn() -> None:
    drawn: list[list[int]] = []

    def share(places: Sequence[int]) -> np.ndarray:
        drawn.append(sorted(places))
        return np.array(sum(place < 2 for place in places) / len(places))

    low, high = source_bootstrap(["a", "a", "b"], share, draws=400)
    assert {tuple(places) for places in drawn} == {(0, 0, 1, 1), (0, 1, 2), (2, 2)}
    # only a, only b: one draw in four each, so neither lies outside of the interval
    assert (low, high) == (0, 1)
    assert source_bootstrap(["a", "a", "b"], share, draws=400) == (low, high)


def test_interval_is_the_binomial_one_of_as_many_sources() -> None:
    sources = [str(number) for number in range(100)]
    low, high = source_bootstrap(
        sources, lambda places: np.array(sum(place < 30 for place in places) / len(places))
    )
    # .3 +- 1.96 sqrt(.3 x .7 / 100)
    assert low == pytest.approx(0.21, abs=0.015)
    assert high == pytest.approx(0.39, abs=0.015)


def test_nothing_to_draw_from_is_refused() -> None:
    with pytest.raises(ValueError, match="no images to draw from"):
        source_bootstrap([], lambda _: np.zeros(1))
