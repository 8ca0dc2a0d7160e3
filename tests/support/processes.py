"""Real `nucleipel` processes and the bytes that they leave, for tests that disturb them."""

import hashlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from nucleipel.stages.pipeline import stitch_process

TRAIN = [
    "device=cpu",
    "workers=0",
    "mpp=0.5",
    "window_px=32",
    "core_px=16",
    "windows_per_epoch=8",
    "epochs=2",
    "batch_size=4",
    "warmup_steps=2",
    "network.features=[16,24]",
    "network.residual_units=1",
]
TILE = ["patch_px=32", "overlap_px=8", "mpp=0.5", "shard_patches=2"]
SECONDS = 600
"""A command that takes longer hangs."""
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["support.preloaded"])


class Process:
    """A function in a process, forked by a server that has imported torch once for all of them.

    With `command` it differs from `python -m nucleipel` in the start of Python only, which takes
    seconds of CPU. With an `output`, a file, both streams are written there. Only where a
    test asks for the `second_process` of `segment`, which starts Python anew, there is one.
    """

    def __init__(
        self,
        work: Callable[[list[str]], None],
        *arguments: object,
        start_new_session: bool = False,
        output: Path | None = None,
        environment: Mapping[str, str] | None = None,
        second_process: bool = False,
    ) -> None:
        streams = (1, 2) if output else (2,)
        if output is None:
            descriptor, name = tempfile.mkstemp(prefix="stderr-")
            os.close(descriptor)
            output = Path(name)
        self._output = output
        state = _State(str(output), streams, start_new_session, environment, second_process)
        words = [str(argument) for argument in arguments]
        self._process = SERVER.Process(target=_run, args=(work, words, state))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float = SECONDS) -> int:
        """Wait for the end; the exit code. Raises as that of `subprocess` does."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout)
        return self._process.exitcode

    def finish(self, *, seconds: float = SECONDS) -> str:
        """Wait for the end and return what it wrote to stderr."""
        self.wait(seconds)
        message = self._output.read_text()
        self._output.unlink()
        return message


@dataclass(frozen=True)
class _State:
    """What a forked process changes in itself before it works."""

    output: str
    streams: tuple[int, ...]
    start_new_session: bool
    environment: Mapping[str, str] | None
    second_process: bool


def _run(work: Callable[[list[str]], None], words: list[str], state: _State) -> None:
    """Do the work in the forked process."""
    if state.start_new_session:
        os.setsid()
    if state.environment is not None:
        os.environ.clear()
        os.environ.update(state.environment)
    if not state.second_process:
        stitch_process.core_count = lambda: 1
    for stream in state.streams:
        os.dup2(os.open(state.output, os.O_WRONLY | os.O_APPEND), stream)
        name = {1: "stdout", 2: "stderr"}[stream]
        setattr(sys, name, open(stream, "w", buffering=1, closefd=False))  # noqa: SIM115
    work(words)


def command(words: list[str]) -> None:
    """Be a command of `nucleipel`."""
    from nucleipel.cli.main import cli

    cli(words, prog_name="nucleipel")


def python(words: list[str]) -> None:
    """Be Python, called with `-m MODULE` or `-c CODE` and arguments."""
    kind, program, *arguments = words
    sys.argv = [kind if kind == "-c" else program, *arguments]
    if kind == "-c":
        exec(program, {"__name__": "__main__"})  # noqa: S102
    else:
        assert kind == "-m"
        runpy.run_module(program, run_name="__main__", alter_sys=True)


def popen(
    command: Sequence[object],
    *,
    stdout: IO[str],
    stderr: IO[str] | None = None,
    env: Mapping[str, str] | None = None,
    start_new_session: bool = False,
) -> Process:
    """Stand in for `subprocess.Popen` in scripts that start Python: its processes are forked."""
    assert command[0] == sys.executable
    assert stderr in (None, stdout)
    output = Path(f"/proc/{os.getpid()}/fd/{stdout.fileno()}")
    return Process(
        python, *command[1:], output=output, environment=env, start_new_session=start_new_session
    )


def start(*arguments: object, **options: Any) -> Process:
    return Process(command, "-q", *arguments, **options)


def finish(*arguments: object) -> None:
    process = start(*arguments)
    message = process.finish()
    assert process.returncode == 0, message


def wait_until(reached: Callable[[], bool], process: Process) -> None:
    deadline = time.monotonic() + SECONDS
    while not reached() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)  # every millisecond would take a tenth of a core


def digests(folder: Path, pattern: str) -> dict[str, str]:
    found = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob(pattern))
        if file.is_file()
    }
    assert found
    return found


def settings(assignments: list[str]) -> list[str]:
    return [part for assignment in assignments for part in ("--set", assignment)]


def train_command(manifest: Path, out: Path) -> list[object]:
    return ["train", "--manifest", manifest, "--out", out, *settings(TRAIN)]


def tile_command(manifest: Path, out: Path) -> list[object]:
    return ["tile", "--manifest", manifest, "--out", out, *settings(TILE)]


def predict_command(manifest: Path, checkpoint: Path, out: Path) -> list[object]:
    return ["predict", "--checkpoint", checkpoint, "--manifest", manifest, "--out", out]


def stitch_command(predictions: Path, out: Path) -> list[object]:
    return ["stitch", "--predictions", predictions, "--out", out]
