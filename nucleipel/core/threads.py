"""Threads that work ahead of the main one, and behind it, in order and never far.

What waits is bounded, so memory is too. An error of a thread is raised where
its result is waited for. When the work ends, by an error or a stop too, no
thread is left running.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Some threads; what they have not begun when an exception leaves the block is dropped."""
    with ThreadPoolExecutor(count) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def in_order(
    pool: Executor, function: Callable[[T], R], items: Iterable[T], *, ahead: int
) -> Iterator[R]:
    """What `function` gives for each item, in order; at most `ahead` are made before their turn."""
    waiting: deque[Future[R]] = deque()
    queue = iter(items)
    waiting.extend(pool.submit(function, item) for item in islice(queue, ahead))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(pool.submit(function, item) for item in islice(queue, 1))
        yield result


@contextmanager
def behind(function: Callable[[T], Any]) -> Iterator[Callable[[T], None]]:
    """A function that has a thread do `function` with an item, in order, while the caller goes on.

    It waits until the item before is done. All that was given is done when the
    block ends, whatever ended it.
    """
    with ThreadPoolExecutor(1) as pool:
        last: Future[Any] | None = None

        def give(item: T) -> None:
            nonlocal last
            before, last = last, pool.submit(function, item)
            if before is not None:
                before.result()

        yield give
        if last is not None:
            last.result()
