"""Threads that read ahead and write behind: order, bounds, errors, and a clean end."""

import threading

import pytest

from nucleipel.core.threads import in_background, in_order, threads


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("ahead", [1, 2, 7])
def test_results_come_in_order_and_never_far_ahead(count: int, ahead: int) -> None:
    begun, taken, lock = [], [], threading.Lock()

    def square(item: int) -> int:
        with lock:
            begun.append(item)
            assert len(begun) <= len(taken) + ahead + 1
        return item**2

    with threads(count) as pool:
        for result in in_order(pool, square, iter(range(50)), ahead=ahead):
            taken.append(result)
    assert taken == [item**2 for item in range(50)]
    assert sorted(begun) == list(range(50))
    with threads(count) as pool:
        assert list(in_order(pool, square, [], ahead=ahead)) == []


def test_an_error_comes_in_its_turn_and_what_waits_is_dropped() -> None:
    begun = []
    before = set(threading.enumerate())

    def fail_at_3(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise OSError("unreadable")
        return item

    taken = []
    with pytest.raises(OSError, match="unreadable"), threads(1) as pool:
        for result in in_order(pool, fail_at_3, range(1000), ahead=4):
            taken.append(result)
    assert taken == [0, 1, 2]
    assert begun[-1] < 3 + 4 + 1
    assert not set(threading.enumerate()) - before


def test_the_caller_waits_for_the_item_before() -> None:
    done, open_door = [], threading.Event()

    def work(item: int) -> None:
        if item == 0:
            open_door.wait(60)
        done.append(item)

    with in_background(work) as give:
        give(0)
        assert done == [], "the caller went on"
        threading.Timer(0.05, open_door.set).start()
        give(1)
        assert done[:1] == [0]
        for item in range(2, 20):
            give(item)
            assert len(done) >= item
    assert done == list(range(20))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_all_that_was_given_is_done_when_the_caller_is_stopped(stop: type[BaseException]) -> None:
    done, open_door = [], threading.Event()

    def work(item: int) -> None:
        open_door.wait(60)
        done.append(item)

    with pytest.raises(stop), in_background(work) as give:
        give(0)
        open_door.set()
        give(1)
        raise stop
    assert done == [0, 1]


@pytest.mark.parametrize("last", [0, 1, 5])
def test_its_error_is_the_callers(last: int) -> None:
    def work(item: int) -> None:
        if item == 0:
            raise OSError("disk full")

    items = []
    with pytest.raises(OSError, match="disk full"), in_background(work) as give:
        for item in range(last + 1):
            items.append(item)
            give(item)
    assert len(items) <= 2
