"""In which order an endless stream of samples runs through a finite set of items."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt


def item_of(number: int, *, count: int, seed: int) -> int:
    """The item that sample `number` shows: every item once, then all again in another order."""
    turn, place = divmod(number, count)
    return int(_shuffled(seed, turn, count)[place])


@lru_cache(maxsize=2)
def _shuffled(seed: int, turn: int, count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, turn, 1]).permutation(count)
