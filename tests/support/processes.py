"""Real `nucleipel` processes and the bytes that they leave, for tests that disturb them."""

import hashlib
import subprocess
import sys
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
SECONDS = 240
"""A command that takes longer hangs."""


def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "nucleipel", "-q", *map(str, arguments)],
        stderr=subprocess.PIPE,
        **options,
    )


def finish(*arguments: object) -> None:
    process = start(*arguments)
    _, message = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, message.decode()


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
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
