"""Commands that get a signal save, exit with its code, and continue to the same bytes."""

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from support.processes import (
    digests,
    finish,
    predict_command,
    start,
    stitch_command,
    tile_command,
    train_command,
    wait_until,
)

pytestmark = pytest.mark.slow

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 75}


@pytest.fixture(scope="module")
def undisturbed(tiny_set, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `train`, `patches.zarr`, `maps.zarr` and `instances`."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(*train_command(tiny_set.manifest, folder / "train"))
    finish(*tile_command(tiny_set.manifest, folder / "patches.zarr"))
    finish(*predict_command(tiny_set.manifest, folder / "train", folder / "maps.zarr"))
    finish(*stitch_command(folder / "maps.zarr", folder / "instances"))
    return folder


def _stop_when(
    reached: Callable[[], bool], number: signal.Signals, out: Path, *command: object
) -> None:
    """Start a command, send its process group a signal, and check how it ends."""
    for _ in range(5):  # on a busy machine the end may outrun the signal: then once more
        process = start(*command, start_new_session=True)
        wait_until(lambda: out.exists() and reached(), process)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        message = process.finish()
        if process.returncode != 0:
            break
        shutil.rmtree(out)
    assert process.returncode == CODES[number], message
    assert message == f"stopped by {number.name}: the same command continues\n"


@pytest.mark.parametrize("number", CODES)
def test_train(number: signal.Signals, undisturbed: Path, tiny_set, tmp_path: Path) -> None:
    out = tmp_path / "train"
    command = train_command(tiny_set.manifest, out)
    if number == signal.SIGTERM:
        # with a process that prepares samples: a signal to the group must not kill it first
        command += ["--set", "workers=1"]
    _stop_when((out / "tensorboard").is_dir, number, out, *command)
    finish(*command)
    for pattern in ("checkpoint.*", "metrics.csv"):
        assert digests(out, pattern) == digests(undisturbed / "train", pattern)


def test_tile(undisturbed: Path, tiny_set, tmp_path: Path) -> None:
    out = tmp_path / "patches.zarr"
    command = tile_command(tiny_set.manifest, out)
    _stop_when(lambda: any(out.glob("images/c/*")), signal.SIGTERM, out, *command)
    finish(*command)
    assert digests(out, "*") == digests(undisturbed / "patches.zarr", "*")


def test_predict(undisturbed: Path, tiny_set, tmp_path: Path) -> None:
    out = tmp_path / "maps.zarr"
    command = predict_command(tiny_set.manifest, undisturbed / "train", out)
    _stop_when(lambda: any(out.glob("*/map/c/0/*/*")), signal.SIGUSR1, out, *command)
    finish(*command)
    assert digests(out, "*") == digests(undisturbed / "maps.zarr", "*")


def test_stitch(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "instances"
    command = stitch_command(undisturbed / "maps.zarr", out)
    _stop_when((out / "nucleipel.json").is_file, signal.SIGINT, out, *command)
    finish(*command)
    assert digests(out, "*") == digests(undisturbed / "instances", "*")
