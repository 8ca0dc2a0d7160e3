"""Seconds by phase, on a clock that the test turns."""

import json
import logging
import threading
from collections.abc import Iterator

import pytest

from nucleipel.core.stopwatch import Stopwatch


class Hands:
    now = 100.0


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    turned = Hands()
    monkeypatch.setattr("nucleipel.core.stopwatch.time.perf_counter", lambda: turned.now)
    return turned


def test_an_inner_phase_interrupts_the_outer_one(hands: Hands) -> None:
    clock = Stopwatch()
    with clock.phase("write"):
        hands.now += 1
        with clock.phase("stitch"):
            hands.now += 10
            with clock.phase("read"):
                hands.now += 100
            hands.now += 20
        hands.now += 2
        with clock.phase("read"):
            hands.now += 200
    hands.now += 5
    with clock.phase("write"):
        hands.now += 4
    assert clock.seconds == {"read": 300, "stitch": 30, "write": 7}
    assert list(clock.seconds) == ["read", "stitch", "write"]
    assert clock.elapsed == 342


def test_what_fails_is_counted_too(hands: Hands) -> None:
    clock = Stopwatch()
    with pytest.raises(OSError, match="full"), clock.phase("write"), clock.phase("read"):
        hands.now += 3
        raise OSError("full")
    with clock.phase("write"):
        hands.now += 1
    assert clock.seconds == {"read": 3, "write": 1}


def test_making_counts_and_using_does_not(hands: Hands) -> None:
    clock = Stopwatch()

    def items() -> Iterator[int]:
        for item in range(3):
            hands.now += 2
            yield item
        hands.now += 1

    with clock.phase("write"):
        for _ in clock.making("stitch", items()):
            hands.now += 10
    assert clock.seconds == {"stitch": 7, "write": 30}


def test_threads_do_not_interrupt_each_other(hands: Hands) -> None:
    clock = Stopwatch()

    def other() -> None:
        with clock.phase("read"):
            hands.now += 5

    with clock.phase("predict"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        hands.now += 1
    assert clock.seconds == {"read": 5, "predict": 6}


def test_what_is_logged(hands: Hands, caplog: pytest.LogCaptureFixture) -> None:
    clock = Stopwatch()
    hands.now += 1
    for _ in range(2):
        with clock.phase("predict"):
            hands.now += 3
        with clock.phase("write"):
            hands.now += 2
    caplog.set_level(logging.INFO)
    clock.log_summary(logging.getLogger("test"))
    assert not caplog.messages, "no image was worked on"
    clock.note_image("a", pixels=3_000_000, mpp=0.5)
    clock.note_image("b", pixels=10_000_000, mpp=0.25)
    clock.note_image("b", pixels=5_000_000, mpp=0.25)  # by a second stage: it is the same image
    clock.log_summary(logging.getLogger("test"))
    clock.note_image("c", pixels=3_000_000, mpp=None)
    clock.log_summary(logging.getLogger("test"))
    assert caplog.messages == [
        "predict 6.0 s, write 4.0 s in 11.0 s; network idle 25 % of 8.0 s;"
        " 13 Mpx, 1.18 Mpx/s, 0.125 mm2/s",
        "predict 6.0 s, write 4.0 s in 11.0 s; network idle 25 % of 8.0 s; 16 Mpx, 1.45 Mpx/s",
    ]


def test_what_another_process_did_is_added(hands: Hands) -> None:
    clock, other = Stopwatch(), Stopwatch()
    with other.phase("stitch"):
        hands.now += 3
    with other.phase("write"):
        hands.now += 1
    other.note_image("a", pixels=2_000_000, mpp=0.5)
    with clock.phase("predict"):
        hands.now += 4
    with clock.phase("write"):
        hands.now += 2
    clock.note_image("a", pixels=2_000_000, mpp=0.5)
    clock.add(json.loads(json.dumps(other.to_json())))
    assert clock.seconds == {"predict": 4, "stitch": 3, "write": 3}
    assert clock.describe() == (
        "predict 4.0 s, stitch 3.0 s, write 3.0 s in 10.0 s, 4.0 s of them in a second process;"
        " network idle 0 % of 4.0 s; 2 Mpx, 0.2 Mpx/s, 0.05 mm2/s"
    )


def test_no_network_is_not_called_idle(hands: Hands) -> None:
    clock = Stopwatch()
    with clock.phase("stitch"):
        hands.now += 4
    clock.note_image("a", pixels=2_000_000, mpp=1.0)
    assert clock.describe() == "stitch 4.0 s in 4.0 s; 2 Mpx, 0.5 Mpx/s, 0.5 mm2/s"
