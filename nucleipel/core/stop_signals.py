"""Stop on signals: SIGTERM, SIGINT and SIGUSR1 end a command cleanly, between two steps.

A scheduler warns before it kills. Inside `step()` the first such signal waits
until the step is done; anywhere else it raises `Stopped` at once. A step that
takes longer than `PATIENCE_SECONDS` is broken off: its work is done again later,
and the process ends before a scheduler kills it (Slurm: after 30 s).
A second signal ends the process on the spot; those within a second of the first
are one request, since batch systems signal a shell and its children alike.
Neither is needed for a right result: whatever is on disk survives SIGKILL too.
Windows has neither SIGUSR1 nor alarms: there a step is always finished.
"""

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

REQUEUE_SIGNAL: signal.Signals | None = getattr(signal, "SIGUSR1", None)
ALARM: signal.Signals | None = getattr(signal, "SIGALRM", None)
SIGNALS = tuple(
    number for number in (signal.SIGTERM, signal.SIGINT, REQUEUE_SIGNAL) if number is not None
)
PATIENCE_SECONDS = 20.0
ONE_REQUEST_SECONDS = 1.0
REQUEUE = 75
"""Exit code after SIGUSR1, EX_TEMPFAIL of sysexits.h: work is saved, run the same command again."""


class Stopped(KeyboardInterrupt):
    """A signal stops this process; `except Exception` does not catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """143 after SIGTERM, 130 after SIGINT, `REQUEUE` after SIGUSR1."""
        return _exit_code(self.signal)


class _Request:
    """The signal that this process received, when, and whether a step is running."""

    number: int | None = None
    at = 0.0
    in_step = False


def listen() -> None:
    """Handle the signals from now on; to be called by the main thread."""
    for number in SIGNALS:
        signal.signal(number, _on_signal)
    if ALARM is not None:
        signal.signal(ALARM, _on_alarm)
    _Request.number, _Request.in_step = None, False


@contextmanager
def listening() -> Iterator[None]:
    """Handle the signals within a block of the main thread; other threads are not changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = SIGNALS if ALARM is None else (*SIGNALS, ALARM)
    before = {number: signal.getsignal(number) for number in handled}
    listen()
    try:
        yield
    except Exception as error:
        if stop := _stop_that_caused(error):
            raise stop from error
        raise
    finally:
        _set_alarm(0)
        _Request.number, _Request.in_step = None, False
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def step() -> Iterator[None]:
    """Finish a block: a first signal raises `Stopped` at its end."""
    if _Request.in_step or threading.current_thread() is not threading.main_thread():
        yield  # a step within a step ends with the outer one
        return
    _Request.in_step = True
    try:
        yield
    finally:
        _Request.in_step = False
        if _Request.number is not None:
            _set_alarm(0)
    stop_if_requested()


def in_steps(items: Iterable[T]) -> Iterator[T]:
    """Iterate in steps: making an item and using it are one step."""
    source = iter(items)
    while True:
        with step():
            try:
                item = next(source)
            except StopIteration:
                return
            yield item


def begun(items: Iterable[T]) -> Iterator[T]:
    """Start an iterator within one step, so that it starts all of its processes or none.

    A DataLoader that is interrupted there complains on stderr when it ends.
    """
    with step():
        return iter(items)


def stop_if_requested() -> None:
    """Raise `Stopped` if a signal came during a step."""
    if _Request.number is not None and threading.current_thread() is threading.main_thread():
        raise Stopped(_Request.number)


def requested_signal() -> int | None:
    """Return the signal that was received, if any."""
    return _Request.number


def ignore_in_worker(_: int = 0) -> None:
    """Leave the signals to the parent: those to a whole group would kill its workers first.

    Takes a worker's number, as a DataLoader gives it.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _on_signal(number: int, _: FrameType | None) -> None:
    if _Request.number is not None:
        if time.monotonic() - _Request.at > ONE_REQUEST_SECONDS:
            os._exit(_exit_code(number))
        return
    _Request.number, _Request.at = number, time.monotonic()
    if not _Request.in_step:
        raise Stopped(number)
    _set_alarm(PATIENCE_SECONDS)


def _stop_that_caused(error: BaseException) -> Stopped | None:
    """Find the stop that caused an error: inside a lock's wait it fails the lock's clean-up.

    A signal to the whole group may also end a process that is being started, before it can ignore
    signals. Its parent, which waits for the end of a step, then finds their pipe closed.
    """
    if _Request.number is not None and isinstance(error, EOFError | ConnectionError):
        return Stopped(_Request.number)
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, Stopped):
        cause = cause.__cause__ or cause.__context__
    return cause


def _set_alarm(seconds: float) -> None:
    """Ask for an alarm after some seconds; 0 cancels it."""
    if ALARM is not None:
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _on_alarm(*_: object) -> None:
    if _Request.in_step and _Request.number is not None:
        raise Stopped(_Request.number)


def _exit_code(number: int) -> int:
    return REQUEUE if number == REQUEUE_SIGNAL else 128 + number
