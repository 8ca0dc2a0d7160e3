"""An exclusive lock on an open file, of the kind that the system has.

POSIX: a record lock (`fcntl.lockf`). Windows: a locked byte (`msvcrt.locking`).
This is the only module that imports either.
"""

import os

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None  # type: ignore[assignment]

LOCKED_BYTE = 2**30
"""Windows forbids to read a locked byte: this one lies behind everything that a lock file holds."""

REMOVABLE_WHILE_OPEN = fcntl is not None
"""Whether a file can be removed while a process has it open (not on Windows)."""


def lock_file(descriptor: int) -> None:
    """Lock an open file for this process, without waiting.

    Parameters
    ----------
    descriptor : int
        The file, open for writing.

    Raises
    ------
    OSError
        If another process holds the lock, or the file system has no locks.
    """
    if fcntl is not None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
    msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[name-defined,attr-defined,unused-ignore]


def read_file(descriptor: int, size: int) -> bytes:
    """Read the first `size` bytes of an open file.

    Through the descriptor of the lock: closing another one would drop a record lock.
    """
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, size)


def replace_content(descriptor: int, content: bytes) -> None:
    """Write an open file anew."""
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, content)
