"""Streams of samples: every item has its share, and depends on seed and number only."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleipel.data.sampling_order import drawn_item_of, item_of

WEIGHTS = st.lists(st.floats(0, 1e4, allow_subnormal=False), min_size=1, max_size=40)


@settings(max_examples=50, deadline=None)
@given(weights=WEIGHTS.filter(lambda weights: sum(weights) > 1e-3), seed=st.integers(0, 2**31))
def test_an_item_is_drawn_as_often_as_its_share_says(weights: list[float], seed: int) -> None:
    count = len(weights)
    for turn in range(2):
        numbers = range(turn * count, (turn + 1) * count)
        drawn = Counter(drawn_item_of(i, weights=tuple(weights), seed=seed) for i in numbers)
        assert sum(drawn.values()) == count
        for item, weight in enumerate(weights):
            assert abs(drawn[item] - count * weight / sum(weights)) < 1 + 1e-6
            assert weight or not drawn[item]


def test_equal_weights_show_every_item_once_a_turn() -> None:
    for turn in range(3):
        items = [drawn_item_of(7 * turn + i, weights=(2.0,) * 7, seed=1) for i in range(7)]
        assert sorted(items) == list(range(7))


def test_turns_and_seeds_differ_and_repeat() -> None:
    weights = tuple(float(i) for i in range(20))

    def stream(seed: int) -> list[int]:
        return [drawn_item_of(number, weights=weights, seed=seed) for number in range(60)]

    assert stream(3) == stream(3)
    assert stream(3) != stream(4)
    assert stream(3)[:20] != stream(3)[20:40]
    assert drawn_item_of(45, weights=weights, seed=3) == stream(3)[45]
    plain = [item_of(number, count=20, seed=3) for number in range(20)]
    assert sorted(plain) == list(range(20)) != sorted(stream(3)[:20])


def test_something_must_weigh() -> None:
    with pytest.raises(ValueError, match="no weight is above 0"):
        drawn_item_of(0, weights=(0.0, 0.0), seed=0)
