"""Threads that work ahead of the main one or after it, in order, at a bounded distance.

So memory is bounded too. An error of a thread is raised where its result is
waited for. No thread keeps running when the work ends, also after an error or a
stop.
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
    """Run some threads; after an exception, work that they have not begun is dropped."""
    with ThreadPoolExecutor(count) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def in_order(
    pool: Executor, function: Callable[[T], R], items: Iterable[T], *, ahead: int
) -> Iterator[R]:
    """Apply `function` to each item, in order; at most `ahead` results are made in advance."""
    waiting: deque[Future[R]] = deque()
    queue = iter(items)
    waiting.extend(pool.submit(function, item) for item in islice(queue, ahead))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(pool.submit(function, item) for item in islice(queue, 1))
        yield result


@contextmanager
def in_background(function: Callable[[T], Any]) -> Iterator[Callable[[T], None]]:
    """Give a function that applies `function` to an item in a thread, while the caller goes on.

    It first waits for the item before. All items are done when the block ends,
    also after an error.
    """
    with ThreadPoolExecutor(1) as pool:
        last: Future[Any] | None = None

        def submit(item: T) -> None:
            nonlocal last
            before, last = last, pool.submit(function, item)
            if before is not None:
                before.result()

        yield submit
        if last is not None:
            last.result()
