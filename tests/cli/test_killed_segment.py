"""A `segment` that is killed or stopped leaves no process behind, and continues."""

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support.processes import SECONDS, Process, digests, start, wait_until

from nucleipel.config import SegmentConfig
from nucleipel.core.machine import core_count
from nucleipel.io.manifest import read_manifest
from nucleipel.stages.pipeline.segment import segment

pytestmark = pytest.mark.slow


def _child(process: Process) -> int | None:
    """The process that `process` started, if there is one by now."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):  # it ended just now
            lines = dict(line.split(":\t") for line in status.read_text().splitlines())
            if lines["PPid"] == str(process.pid) and b"serve()" in (
                status.with_name("cmdline").read_bytes()
            ):
                return int(lines["Pid"])
    return None


def _holds_an_image(pid: int, out: Path) -> bool:
    for lock in out.glob(".lock-image-*"):
        with suppress(OSError, ValueError):  # taken or released by another one just now
            if json.loads(lock.read_text())["pid"] == pid:
                return True
    return False


def _is_there(pid: int) -> bool:
    """Whether any thread of it is: when the first has ended, others may still hold its locks."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        states = [(one / "stat").read_text().rpartition(")")[2].split()[0] for one in threads]
    except OSError:  # one of them ended just now
        return Path(f"/proc/{pid}").exists()
    return any(state not in "ZX" for state in states)


def _started(out: Path, command: list[object]) -> tuple[Process, int]:
    """It and its second process, which is stopped while it holds an image.

    It is let run in steps that are shorter than its work on an image, so that no load of the
    machine can make this miss the work.
    """
    process, seen = start(*command, start_new_session=True, second_process=True), []

    def at_work() -> bool:
        seen[:] = seen or [pid for pid in [_child(process)] if pid]
        if not seen:
            return False
        os.kill(seen[0], signal.SIGSTOP)
        if _holds_an_image(seen[0], out):
            return True
        os.kill(seen[0], signal.SIGCONT)
        time.sleep(0.01)
        return False

    wait_until(at_work, process)
    assert process.poll() is None, process.finish()
    assert seen, "it never had a second process"
    return process, seen[0]


def _require_gone(pid: int) -> None:
    deadline = time.monotonic() + SECONDS
    while _is_there(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _is_there(pid)


@pytest.mark.skipif(core_count() < 2, reason="one core: there is no second process")
def test_nothing_is_left_running(tiny_set, random_checkpoint: Path, tmp_path: Path) -> None:
    command = ["segment", "--checkpoint", random_checkpoint, "--manifest", tiny_set.manifest]
    command += ["--device", "cpu", "--out"]
    process, second = _started(tmp_path / "asked", [*command, tmp_path / "asked"])
    os.killpg(process.pid, signal.SIGTERM)
    message = process.finish()
    assert process.returncode == 143, message
    assert message == "stopped by SIGTERM: the same command continues\n"
    assert not _is_there(second), "it ended before its parent"

    process, second = _started(tmp_path / "killed", [*command, tmp_path / "killed"])
    process.kill()
    process.finish()
    os.kill(second, signal.SIGCONT)
    _require_gone(second)
    # the same run, without another start of Python; and one that never had a second process
    for out in ("killed", "undisturbed"):
        rows = read_manifest(tiny_set.manifest)
        segment(random_checkpoint, rows, tmp_path / out, SegmentConfig(device="cpu"))
    assert digests(tmp_path / "killed", "*") == digests(tmp_path / "undisturbed", "*")
