"""The order in which an endless stream of samples runs through a finite set of items."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt


def item_of(number: int, *, count: int, seed: int) -> int:
    """The item that sample `number` shows: every item once, then all again in another order."""
    turn, place = divmod(number, count)
    return int(_shuffled(seed, turn, count)[place])


def drawn_item_of(number: int, *, weights: tuple[float, ...], seed: int) -> int:
    """The item that sample `number` shows, if items are drawn in proportion to their weights.

    A turn has as many draws as there are items, evenly spaced along the sum of
    all weights (systematic sampling): an item comes as often as its share says,
    rounded up or down, and one of weight 0 never.

    Raises
    ------
    ValueError
        If no weight is above 0.
    """
    turn, place = divmod(number, len(weights))
    return int(_drawn(seed, turn, weights)[place])


@lru_cache(maxsize=2)
def _drawn(seed: int, turn: int, weights: tuple[float, ...]) -> npt.NDArray[np.int64]:
    ends = np.cumsum(weights)
    if not ends[-1] > 0:
        raise ValueError("no weight is above 0")
    random = np.random.default_rng([seed, turn, 2])
    places = (np.arange(len(weights)) + random.random()) * (ends[-1] / len(weights))
    # rounding may put the last place at the very end, beyond the last item that weighs anything
    last = int(np.flatnonzero(weights)[-1])
    return random.permutation(np.minimum(np.searchsorted(ends, places, side="right"), last))


@lru_cache(maxsize=2)
def _shuffled(seed: int, turn: int, count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, turn, 1]).permutation(count)
