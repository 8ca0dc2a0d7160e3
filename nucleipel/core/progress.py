"""One progress bar for all long work; none without a terminal, so that batch logs stay readable."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
Report = Callable[[str, int, int | None], object]

_report: ContextVar[Report | None] = ContextVar("report", default=None)


class _ReportedBar(tqdm):  # type: ignore[type-arg]
    """A bar that reports each step to a program, whether it is drawn or not."""

    report: Report
    steps = 0

    def __iter__(self) -> Iterator[T]:
        for item in super().__iter__():
            yield item
            self._step(1)

    def update(self, n: float | None = 1) -> bool | None:
        drawn = super().update(n)
        self._step(int(n or 0))
        return drawn

    def _step(self, count: int) -> None:
        self.steps += count
        self.report(self.desc, self.steps, None if self.total is None else int(self.total))


@contextmanager
def progress_to(report: Report) -> Iterator[None]:
    """Within the block, in this thread, call `report(what, done, total)` after each step.

    An exception that `report` raises ends the work.
    """
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


def track(items: Iterable[T], what: str, *, total: int | None = None, done: int = 0) -> "tqdm[T]":
    """Iterate over `items` with a progress bar labeled `what`; `done` of `total` are done."""
    quiet = not logging.getLogger("nucleipel").isEnabledFor(logging.INFO)
    hidden = quiet or not sys.stdout.isatty()
    report = _report.get()
    bar = (_ReportedBar if report else tqdm)(
        items, desc=what, total=total, initial=done, disable=hidden, leave=False, smoothing=0.1
    )
    if isinstance(bar, _ReportedBar) and report is not None:
        bar.report, bar.steps, bar.desc, bar.total = report, done, what, total
    return bar
