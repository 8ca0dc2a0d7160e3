"""A signal waits for the current step; a second one does not."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from nucleipel.core.stop_signals import REQUEUE, Stopped, begun, in_steps, listening, step

LONG_STEP = """
import signal, sys, time
from nucleipel.core.stop_signals import Stopped, listening, step
now = 100.0
time.monotonic = lambda: now  # as a busy machine cannot change it
try:
    with listening(), step():
        signal.raise_signal(signal.SIGTERM)
        print("first", flush=True)
        now += 0.3
        signal.raise_signal(signal.SIGTERM)
        print("echo", flush=True)
        now += 1.5
        signal.raise_signal(signal.SIGINT)
        print("second", flush=True)
except Stopped as stop:
    sys.exit(stop.exit_code)
"""


def test_a_second_signal_ends_it_at_once_but_an_echo_of_the_first_does_not() -> None:
    done = subprocess.run([sys.executable, "-c", LONG_STEP], stdout=subprocess.PIPE, text=True)
    assert done.stdout == "first\necho\n", "it waited for its step"
    assert done.returncode == 130, "by the second signal, not at the end of its step"


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, REQUEUE)],
)
def test_the_step_is_finished_first(number: signal.Signals, code: int) -> None:
    done = []
    with listening(), pytest.raises(Stopped) as caught:
        with step():
            with step():  # one within another waits for the outer one
                signal.raise_signal(number)
                done.append("inner")
            done.append("outer")
        done.append("beyond")
    assert done == ["inner", "outer"]
    assert caught.value.exit_code == code


def test_outside_a_step_it_stops_at_once() -> None:
    with listening(), pytest.raises(Stopped):
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError


def test_an_error_that_a_stop_caused_is_the_stop() -> None:
    """A lock that is interrupted in its wait fails to let go: `RuntimeError` hides the stop."""
    with pytest.raises(Stopped) as caught, listening():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            raise RuntimeError("release unlocked lock")
    assert caught.value.exit_code == 130


@pytest.mark.parametrize("error", [EOFError("unexpected EOF"), BrokenPipeError(32, "Broken pipe")])
def test_a_child_that_the_same_signal_ended_is_the_stop(error: Exception) -> None:
    """One that is being started cannot ignore signals yet: its parent reads the end of a pipe."""
    with pytest.raises(Stopped) as caught, listening(), step():
        signal.raise_signal(signal.SIGTERM)
        raise error
    assert caught.value.exit_code == 143
    with pytest.raises(type(error)), listening():
        raise error


def test_an_error_of_its_own_stays() -> None:
    with pytest.raises(RuntimeError, match="disk full"), listening(), step():
        signal.raise_signal(signal.SIGINT)
        raise RuntimeError("disk full")


def test_items_are_made_and_used_in_one_step() -> None:
    used = []

    def items():
        yield 1
        signal.raise_signal(signal.SIGTERM)
        yield 2
        yield 3

    with listening(), pytest.raises(Stopped):
        for item in in_steps(items()):
            used.append(item)
    assert used == [1, 2]
    assert list(in_steps([])) == []


def test_an_iterator_is_begun_in_one_step() -> None:
    done = []

    class Slow:
        def __iter__(self) -> Iterator[int]:
            signal.raise_signal(signal.SIGTERM)
            done.append("begun")
            return iter([1, 2])

    with listening(), pytest.raises(Stopped):
        for item in begun(Slow()):
            done.append(item)
    assert done == ["begun"]
    assert list(begun([1, 2])) == [1, 2]


def test_handlers_are_put_back_and_threads_leave_them_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with listening():
        assert signal.getsignal(signal.SIGTERM) != before
        thread = threading.Thread(target=lambda: [None for _ in in_steps(range(3))])
        thread.start()
        thread.join()
    assert signal.getsignal(signal.SIGTERM) == before
