"""Being asked to stop: SIGTERM, SIGINT and SIGUSR1 end a command cleanly, between two steps.

A scheduler warns before it kills. Inside `step()` the first such signal waits
until the step is done; anywhere else it raises `Stopped` at once. A step that
takes longer than `PATIENCE_SECONDS` is given up: its work is done again later,
and the process is gone before a scheduler loses its patience (Slurm: 30 s).
A second signal ends the process on the spot; those within a second of the first
are one request, since batch systems signal a shell and its children alike.
Neither is needed for a right result: whatever is on disk survives SIGKILL too.
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

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
PATIENCE_SECONDS = 20.0
ONE_REQUEST_SECONDS = 1.0
REQUEUE = 75
"""Exit code after SIGUSR1, EX_TEMPFAIL of sysexits.h: work is saved, run the same command again."""


class Stopped(KeyboardInterrupt):
    """Somebody asked this process to stop; no `except Exception` swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """143 after SIGTERM, 130 after SIGINT, `REQUEUE` after SIGUSR1."""
        return _exit_code(self.signal)


class _Asked:
    """What the handler knows; one process, one of it."""

    number: int | None = None
    at = 0.0
    in_step = False


def listen() -> None:
    """Handle the signals from now on; called by the main thread of a process."""
    for number in SIGNALS:
        signal.signal(number, _on_signal)
    signal.signal(signal.SIGALRM, _on_alarm)
    _Asked.number, _Asked.in_step = None, False


@contextmanager
def listening() -> Iterator[None]:
    """Handle the signals in here. Only in the main thread; elsewhere it changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGALRM)}
    listen()
    try:
        yield
    except Exception as error:
        if stop := _stop_behind(error):
            raise stop from error
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _Asked.number, _Asked.in_step = None, False
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def step() -> Iterator[None]:
    """Work that is worth finishing: a first signal raises `Stopped` at its end."""
    if _Asked.in_step or threading.current_thread() is not threading.main_thread():
        yield  # a step within a step ends with the outer one
        return
    _Asked.in_step = True
    try:
        yield
    finally:
        _Asked.in_step = False
        if _Asked.number is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
    stop_if_asked()


def in_steps(items: Iterable[T]) -> Iterator[T]:
    """The items; making each, and all that is done with it, is one step."""
    source = iter(items)
    while True:
        with step():
            try:
                item = next(source)
            except StopIteration:
                return
            yield item


def begun(items: Iterable[T]) -> Iterator[T]:
    """An iterator over the items, begun in one step: what starts processes ends up with all.

    A DataLoader that is interrupted there complains on stderr when it goes.
    """
    with step():
        return iter(items)


def stop_if_asked() -> None:
    """Raise `Stopped` if a signal came during a step."""
    if _Asked.number is not None and threading.current_thread() is threading.main_thread():
        raise Stopped(_Asked.number)


def asked() -> int | None:
    """The signal that came, if one did."""
    return _Asked.number


def ignore_in_worker(_: int = 0) -> None:
    """Leave the signals to the parent: those sent to a whole group would kill its helpers first.

    Takes a worker's number, as a DataLoader gives it.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _on_signal(number: int, _: FrameType | None) -> None:
    if _Asked.number is not None:
        if time.monotonic() - _Asked.at > ONE_REQUEST_SECONDS:
            os._exit(_exit_code(number))
        return
    _Asked.number, _Asked.at = number, time.monotonic()
    if not _Asked.in_step:
        raise Stopped(number)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)


def _stop_behind(error: BaseException) -> Stopped | None:
    """The stop that an error came from: one inside a lock's wait fails the lock's own clean-up."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, Stopped):
        behind = behind.__cause__ or behind.__context__
    return behind


def _on_alarm(*_: object) -> None:
    if _Asked.in_step and _Asked.number is not None:
        raise Stopped(_Asked.number)


def _exit_code(number: int) -> int:
    return REQUEUE if number == signal.SIGUSR1 else 128 + number
