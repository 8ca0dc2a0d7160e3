"""A program that asks for it hears of each step of long work, and may end it."""

import pytest

from nucleipel.core.progress import progress_to, track


def test_each_step_is_reported_with_its_number_and_the_total() -> None:
    heard: list[tuple[str, int, int | None]] = []
    with progress_to(lambda *step: heard.append(step)):
        assert list(track("ab", "reading", total=2)) == ["a", "b"]
        with track([], "writing", total=9, done=4) as bar:
            bar.update()
            bar.update(3)
        list(track(iter("x"), "guessing"))
    assert list(track("ab", "unheard")) == ["a", "b"]
    assert heard == [
        ("reading", 1, 2),
        ("reading", 2, 2),
        ("writing", 5, 9),
        ("writing", 8, 9),
        ("guessing", 1, None),
    ]


def test_a_listener_may_end_the_work() -> None:
    def stop(what: str, done: int, total: int | None) -> None:
        raise InterruptedError(f"{what} {done}")

    seen = []
    with progress_to(stop), pytest.raises(InterruptedError, match="reading 1"):
        for item in track("abc", "reading"):
            seen.append(item)
    assert seen == ["a"]
