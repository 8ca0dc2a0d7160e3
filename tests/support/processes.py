"""Real `nucleipel` processes and the bytes that they leave, for tests that disturb them."""

import hashlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

TRAIN = [
    "device=cpu",
    "workers=0",
    "mpp=0.5",
    "window_px=32",
    "core_px=16",
    "windows_per_epoch=16",
    "epochs=4",
    "batch_size=4",
    "warmup_steps=2",
    "network.features=[16,24]",
    "network.residual_units=1",
]
TILE = ["patch_px=32", "overlap_px=8", "mpp=0.5", "shard_patches=2"]
SECONDS = 600
"""A command that takes longer hangs."""
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["nucleipel.cli.main", "nucleipel.stages.demo", "nucleipel.stages.pipeline.segment"]
)


class Process:
    """A function in a process, forked by a server that has imported torch once for all of them.

    With `command` it differs from `python -m nucleipel` in the start of Python only, which takes
    seconds of CPU.
    """

    def __init__(
        self, work: Callable[[list[str]], None], *arguments: object, start_new_session: bool = False
    ) -> None:
        descriptor, name = tempfile.mkstemp(prefix="stderr-")
        os.close(descriptor)
        self._stderr = Path(name)
        words = [str(argument) for argument in arguments]
        self._process = SERVER.Process(target=_run, args=(work, words, name, start_new_session))
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

    def finish(self, *, seconds: float = SECONDS) -> str:
        """Wait for the end and return what it wrote to stderr."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"not done after {seconds} s"
        message = self._stderr.read_text()
        self._stderr.unlink()
        return message


def _run(
    work: Callable[[list[str]], None], words: list[str], stderr: str, start_new_session: bool
) -> None:
    """Do the work in the forked process."""
    if start_new_session:
        os.setsid()
    os.dup2(os.open(stderr, os.O_WRONLY), 2)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    work(words)


def command(words: list[str]) -> None:
    """Be a command of `nucleipel`."""
    from nucleipel.cli.main import cli

    cli(words, prog_name="nucleipel")


def start(*arguments: object, start_new_session: bool = False) -> Process:
    return Process(command, "-q", *arguments, start_new_session=start_new_session)


def finish(*arguments: object) -> None:
    process = start(*arguments)
    message = process.finish()
    assert process.returncode == 0, message


def wait_until(reached: Callable[[], bool], process: Process) -> None:
    deadline = time.monotonic() + SECONDS
    while not reached() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)


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
