"""Memory that a network frees, kept for its next layer (glibc, the C library of most Linux)."""

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

# names and numbers of glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
LARGEST = 2**31 - 1
LARGEST_MMAP_THRESHOLD = 2**25
"""The highest that glibc takes, and where it arrives without settings after large arrays."""


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory in this process, until the end of the block; then give it back.

    glibc gives an array of more than 32 MiB back to the system as soon as it is freed (under
    Dask, whose workers set MALLOC_TRIM_THRESHOLD_, one of more than 128 KiB), and the system
    clears the same pages again for the next layer's output. With another C library the block
    changes nothing.
    """
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(M_MMAP_MAX, 0)
    library.mallopt(M_TRIM_THRESHOLD, LARGEST)
    try:
        yield
    finally:
        library.mallopt(M_MMAP_MAX, 65536)  # glibc's default
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        library.mallopt(M_TRIM_THRESHOLD, 2 * LARGEST_MMAP_THRESHOLD)
        library.malloc_trim(0)


def _glibc() -> Any:
    """The C library of this process if it is glibc, otherwise None."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows
        return None
    needed = ("gnu_get_libc_version", "mallopt", "malloc_trim")
    return library if all(hasattr(library, name) for name in needed) else None
