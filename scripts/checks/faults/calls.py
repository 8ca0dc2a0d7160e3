"""Kill a stage at the n-th system call that changes a file (by strace), then run it again.

A kill before a call is a kill after the previous call, so every place between two is tried.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from faults.child import Child, run
from faults.stages import OUT, STAGES, command, digest_in_child, empty_place

from nucleipel.cli.main import cli

CALLS = (
    "write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,mkdir,rmdir"
)


def call_trials(
    work: Path, whole: Path, first: int, last: int, *, stages: Sequence[str] = STAGES
) -> Iterator[dict[str, Any]]:
    """Kill each stage at each of its calls from `first` to `last`."""
    if shutil.which("strace") is None:
        raise SystemExit("error: strace was not found; apt-get install strace")
    for stage in stages:
        expected = digest_in_child(stage, whole / OUT[stage])
        for number in range(first, last + 1):
            out = empty_place(work / "called", stage)
            killed = _run_until(number, ["-q", *command(stage, whole, out)])
            code, output = run(["-q", *command(stage, whole, out)])
            right = code == 0 and digest_in_child(stage, out) == expected
            row = {"stage": stage, "call": number, "kills": int(killed), "right": right}
            yield row if right else {**row, "output": output[-500:]}


def _run_until(number: int, arguments: list[str]) -> bool:
    """Return whether the command reached its n-th call and was killed there."""
    child = Child(lambda: cli(arguments), held=True)
    child.wait_until_held()
    injected = f"inject={CALLS}:signal=SIGKILL:when={number}"
    tracer = subprocess.Popen(
        [
            "strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={CALLS}", "-e", injected,
            "-p", str(child.pid),
        ],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not _is_traced(child.pid):
        time.sleep(0.005)
    child.go_on()
    code, _ = child.wait()
    tracer.wait()
    return code == -signal.SIGKILL


def _is_traced(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return any(line.startswith("TracerPid:") and line.split()[1] != "0" for line in lines)
