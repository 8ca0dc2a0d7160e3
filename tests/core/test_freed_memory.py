"""Inside the block, memory that is taken anew takes no new pages from the system."""

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import pytest

from nucleipel.core import freed_memory
from nucleipel.core.freed_memory import freed_memory_kept

resource = pytest.importorskip("resource")
BYTES = 100 * 2**20
PAGES = BYTES // 4096
HAS_GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")


def _new_pages() -> int:
    """Take, fill and free memory as a network does (NumPy asks for huge pages)."""
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    address = ctypes.c_void_p(library.malloc(ctypes.c_size_t(BYTES)))
    library.memset(address, 1, ctypes.c_size_t(BYTES))
    library.free(address)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def _held_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _measure() -> list[int]:
    """New pages of two goes in a block and of two after it, and bytes given back at its end."""
    with freed_memory_kept():
        inside = [_new_pages(), _new_pages()]
        held = _held_bytes()
    given_back = held - _held_bytes()
    return [*inside, _new_pages(), _new_pages(), given_back]


@pytest.mark.skipif(not HAS_GLIBC, reason="needs glibc")
def test_freed_memory_is_used_again_inside_the_block_and_given_back_after_it() -> None:
    """In a process of its own: where NumPy asked for huge pages before, there are few of them."""
    code = f"import json, runpy; print(json.dumps(runpy.run_path({__file__!r})['_measure']()))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    first, again, after, once_more, given_back = json.loads(done.stdout)
    assert first > PAGES / 2
    assert again < PAGES / 10
    assert given_back > BYTES / 2
    assert after > PAGES / 2
    assert once_more > PAGES / 2, "as without the block"


def test_without_glibc_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed_memory, "_glibc", lambda: None)
    with freed_memory_kept():
        pass


def test_an_error_passes() -> None:
    with pytest.raises(ValueError, match="mine"), freed_memory_kept():
        raise ValueError("mine")
