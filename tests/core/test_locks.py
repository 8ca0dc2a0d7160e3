"""A lock keeps other processes out, names its holder, and ends with it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nucleipel.core.locks import HeldError, Lock

HOLD = """
import os, sys, time
from pathlib import Path
from nucleipel.core.locks import Lock
lock = Lock(Path(sys.argv[1]))
if os.fork() == 0:  # a helper that outlives its parent, as a loader's worker may
    os.close(1)
    time.sleep(float(sys.argv[2]))
    os._exit(0)
print("held", flush=True)
time.sleep(600)
"""


def _hold(path: Path, helper_seconds: float = 0) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(helper_seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_holder_is_named_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    holder = _hold(path, helper_seconds=20)
    with pytest.raises(HeldError, match=rf"process {holder.pid} on .*, job 17_3, since 20"):
        Lock(path)
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    lock = Lock(path)  # at once, though the helper lives on
    assert str(os.getpid()) in path.read_text()
    lock.release()
    assert not path.exists()


def test_one_that_is_released_can_be_taken(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with Lock(path):
        pass
    holder = _hold(path)
    holder.kill()
    holder.communicate()
    with Lock(path, wait_seconds=5):
        assert path.exists()


def test_a_release_that_is_interrupted_is_not_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Lock(tmp_path / ".lock")
    close, closed = os.close, []

    def interrupted(descriptor: int) -> None:
        close(descriptor)
        closed.append(descriptor)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lock.release()
    after = os.open(tmp_path / "mine", os.O_CREAT | os.O_RDWR)
    assert [after] == closed, "the number is given out again"
    del lock
    os.close(after)  # would fail if it had been closed a second time


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"pid": 1}', b"\xff" * 9])
def test_what_a_dead_holder_left_in_the_file_does_not_matter(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / ".lock").write_bytes(content)
    with Lock(tmp_path / ".lock"):
        pass
