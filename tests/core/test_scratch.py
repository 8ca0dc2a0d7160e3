"""Scratch of a killed run is used again; what a power cut damaged is not."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from nucleipel.core.scratch import Scratch


def _tear_nothing(content: bytes) -> bytes:
    return content


def _lose_all(_: bytes) -> bytes:
    return b""


def _lose_the_end(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _read_as_zeros(content: bytes) -> bytes:
    return bytes(len(content))


def _lose_a_page(content: bytes) -> bytes:
    """Whole to look at: the list at the end of the file is there, some of the data is not."""
    return content[:512] + bytes(512) + content[1024:]


@pytest.mark.parametrize(
    ("tear", "kept"),
    [
        (_tear_nothing, True),
        (_lose_all, False),
        (_lose_the_end, False),
        (_read_as_zeros, False),
        (_lose_a_page, False),
    ],
)
def test_a_torn_set_is_made_again_and_the_others_are_kept(
    tmp_path: Path, tear: Callable[[bytes], bytes], kept: bool
) -> None:
    arrays = {"ids": np.arange(1, 500), "facts": np.full((7, 3), 5, np.uint8)}
    first = Scratch(tmp_path / "scratch", {"source": "a"})
    first.put("one", arrays)
    first.put("other", arrays)
    (file,) = tmp_path.glob("scratch/*/one.npz")
    file.write_bytes(tear(file.read_bytes()))

    again = Scratch(tmp_path / "scratch", {"source": "a"})
    assert ("one" in again, "other" in again) == (kept, True)
    for name, array in again.get("other").items():
        np.testing.assert_array_equal(array, arrays[name])
    again.put("one", arrays)
    np.testing.assert_array_equal(again.get("one", "ids")["ids"], arrays["ids"])


def test_sets_of_another_identity_are_not_used(tmp_path: Path) -> None:
    first = Scratch(tmp_path / "scratch", {"source": "a"})
    first.put("one", {"ids": np.arange(3)})
    other = Scratch(tmp_path / "scratch", {"source": "b"})
    assert "one" not in other
    assert "one" in first


def test_several_processes_put_the_same_set_at_a_time(tmp_path: Path) -> None:
    """Each into a file of its own, which takes its name when it is whole."""
    one, other = (Scratch(tmp_path / "scratch", {"source": "a"}) for _ in range(2))
    arrays = {"ids": np.arange(10**5)}
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(scratch.put, "one", arrays) for scratch in (one, other) * 20]:
            done.result()
    assert "one" in Scratch(tmp_path / "scratch", {"source": "a"})
    assert len(list(tmp_path.glob("scratch/*/*"))) == 1
