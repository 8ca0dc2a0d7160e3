"""Every image belongs to exactly one shard."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleipel.core.shard import CLOSE, WHOLE, Shard


@given(st.integers(0, 50), st.integers(1, 60))
def test_every_item_is_in_exactly_one_shard(items: int, count: int) -> None:
    shards = [Shard.parse(f"{number}/{count}").of(range(items)) for number in range(1, count + 1)]
    assert sorted(item for shard in shards for item in shard) == list(range(items))
    sizes = [len(shard) for shard in shards]
    assert max(sizes) - min(sizes) <= 1


def test_which_close() -> None:
    assert Shard.parse("close") == CLOSE
    assert Shard.parse("1/1") == WHOLE
    assert [shard.closes for shard in (CLOSE, WHOLE, Shard(1, 2))] == [True, True, False]
    assert CLOSE.of("abc") == ()


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "a/b", "3", "1/0", "-1/3", "1/2/3"])
def test_others_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected K/N with K in 1"):
        Shard.parse(text)
