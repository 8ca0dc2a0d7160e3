"""One progress bar for all long work; none without a terminal, so that batch logs stay readable."""

import logging
import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def track(items: Iterable[T], what: str, *, total: int | None = None, done: int = 0) -> "tqdm[T]":
    """Iterate over `items` with a progress bar labeled `what`; `done` of `total` are done."""
    quiet = not logging.getLogger("nucleipel").isEnabledFor(logging.INFO)
    hidden = quiet or not sys.stdout.isatty()
    return tqdm(
        items, desc=what, total=total, initial=done, disable=hidden, leave=False, smoothing=0.1
    )
