"""Locks between processes and hosts that end with their holder.

POSIX record locks: the kernel drops them when their process dies, by SIGKILL
too; they hold across the hosts of an NFS or Lustre mount; and forked helpers,
which may outlive their parent by seconds, do not inherit them, as they would
`flock`'s. So no process has to guess from process ids whether a lock is stale.
The file names the holder, for people. One process may take the same lock twice,
except on Windows.
"""

import errno
import json
import logging
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from nucleipel.core.system_lock import (
    REMOVABLE_WHILE_OPEN,
    lock_file,
    read_file,
    replace_content,
)

log = logging.getLogger(__name__)

PREFIX = ".lock"
"""Every lock file's name begins so."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_JOB_VARIABLES = ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID", "JOB_ID")


class HeldError(Exception):
    """Another process holds the lock; the text says which."""


class Lock:
    """A lock that is held until `release`, the end of a `with` block, or the end of the process.

    Parameters
    ----------
    path : Path
        The lock file; it is made, and removed at the end.
    wait_seconds : float
        How long to try.

    Attributes
    ----------
    deaths : int
        How many processes in a row ended without releasing it: the file that they left says so.

    Raises
    ------
    HeldError
        If another process holds it.
    OSError
        If the file cannot be made.
    """

    def __init__(self, path: Path, *, wait_seconds: float = 0.0) -> None:
        self.path = path
        self.deaths = 0
        self._descriptor: int | None = None
        self._process = os.getpid()
        deadline = time.monotonic() + wait_seconds
        while self._descriptor is None:
            self._try()
            if self._descriptor is None:
                if time.monotonic() >= deadline:
                    raise HeldError(_read_holder(path))
                time.sleep(0.05)
        content = read_file(self._descriptor, 4096)
        left = _holder(content)
        if left != NOBODY:
            log.info("%s: taken over from %s, which did not finish", path.parent, left)
            self.deaths = 1 + int(json.loads(content).get("deaths", 0))
        holder = json.dumps({**_myself(), "deaths": self.deaths})
        replace_content(self._descriptor, holder.encode())

    def release(self) -> None:
        """Let go; the file disappears."""
        if self._descriptor is not None and self._process == os.getpid():  # not in a forked helper
            # first: interrupted below, the second go would close what others have opened since
            descriptor, self._descriptor = self._descriptor, None
            if REMOVABLE_WHILE_OPEN:  # while it is held: nobody else's can be meant
                self.path.unlink(missing_ok=True)
            os.close(descriptor)
            if not REMOVABLE_WHILE_OPEN:
                with suppress(OSError):  # another process holds it already
                    self.path.unlink()

    def _try(self) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock_file(descriptor)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                return
            log.warning(
                "%s: this file system has no locks (is Lustre mounted without -o flock?):"
                " see to it that no other job writes here",
                self.path.parent,
            )
        if not _is_open_at(descriptor, self.path):  # its holder removed it just now
            os.close(descriptor)
            return
        self._descriptor = descriptor

    def __enter__(self) -> "Lock":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()


NOBODY = "another process"


def is_held(path: Path) -> bool:
    """Return whether a process, and not this one, holds the lock of a file."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        lock_file(descriptor)
    except OSError as error:
        return error.errno not in _NO_LOCKS
    finally:
        os.close(descriptor)
    return False


def _is_open_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _myself() -> dict[str, object]:
    job = next((os.environ[name] for name in _JOB_VARIABLES if name in os.environ), None)
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "job": f"{job}_{task}" if job and task else job,
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def _read_holder(path: Path) -> str:
    try:
        return _holder(path.read_bytes())
    except OSError:
        return NOBODY


def _holder(content: bytes) -> str:
    try:
        held = json.loads(content)
        job = f", job {held['job']}" if held["job"] else ""
        return f"process {held['pid']} on {held['host']}{job}, since {held['since']}"
    except (ValueError, KeyError, TypeError):
        return NOBODY
