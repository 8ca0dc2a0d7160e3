"""Choose some of many items, at even distances."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def thin(items: Sequence[T], limit: int) -> list[T]:
    """Choose at most `limit` items at even distances, the first and the last among them."""
    keep = np.linspace(0, len(items) - 1, min(limit, len(items))).astype(int)
    return [items[index] for index in np.unique(keep)]
