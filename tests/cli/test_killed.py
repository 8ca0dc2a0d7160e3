"""Commands killed with SIGKILL in the middle: the same command continues, to the same bytes."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nucleipel.data.synthetic_map import build_probability_map
from nucleipel.io.output import claim_output
from nucleipel.io.predictions import shard_boxes, write_prediction
from nucleipel.io.resolution import Resolution
from nucleipel.io.write_slide import write_slide

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
SECONDS = 120
"""After this long something hangs."""


def _start(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "nucleipel", "-q", *map(str, arguments)], stderr=subprocess.PIPE
    )


def _finish(*arguments: object) -> None:
    process = _start(*arguments)
    _, told = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, told.decode()


def _kill_when(reached: Callable[[], bool], out: Path, *arguments: object) -> None:
    for _ in range(5):  # on a busy machine the end may outrun the kill: then once more
        process = _start(*arguments)
        deadline = time.monotonic() + SECONDS
        while not reached() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        process.kill()
        _, told = process.communicate()
        assert reached(), told.decode()
        if process.returncode == -signal.SIGKILL:
            return
        shutil.rmtree(out)
    pytest.fail("it always ended before it could be killed")


def _digests(folder: Path, pattern: str) -> dict[str, str]:
    found = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob(pattern))
        if file.is_file()
    }
    assert found
    return found


@pytest.fixture(scope="module")
def folder(tiny_set, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("killed")
    _finish(*_train(tiny_set, folder / "train"))
    _finish(*_predict(tiny_set, folder, folder / "maps.zarr"))
    _finish("stitch", "--predictions", folder / "maps.zarr", "--out", folder / "instances")
    return folder


def _train(tiny_set, out: Path) -> list[object]:
    sets = [part for assignment in TRAIN for part in ("--set", assignment)]
    return ["train", "--manifest", tiny_set.manifest, "--out", out, *sets]


def _predict(tiny_set, folder: Path, out: Path) -> list[object]:
    rows = ["--manifest", tiny_set.manifest]
    return ["predict", "--checkpoint", folder / "train", *rows, "--out", out]


def test_train(folder: Path, tiny_set, tmp_path: Path) -> None:
    out = tmp_path / "train"
    _kill_when((out / "state.json").is_file, out, *_train(tiny_set, out))
    _finish(*_train(tiny_set, out))
    assert _digests(out, "checkpoint.*") == _digests(folder / "train", "checkpoint.*")


def test_predict(folder: Path, tiny_set, tmp_path: Path) -> None:
    out = tmp_path / "maps.zarr"
    command = _predict(tiny_set, folder, out)
    _kill_when(lambda: any(out.glob("*/map/c/0/*/*")), out, *command)
    _finish(*command)
    assert _digests(out, "c/**/*") == _digests(folder / "maps.zarr", "c/**/*")


@pytest.fixture(scope="module")
def stitched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store with one map of many blocks and a pyramid, and its instances in large blocks."""
    store = tmp_path_factory.mktemp("slide") / "maps.zarr"
    shape = (700, 4500)
    output = claim_output(store, stage="predict", config={}, inputs={})
    image = store.parent / "slide.ome.tif"
    write_slide(image, np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8), mpp=0.5)
    write_prediction(
        store,
        "slide",
        ((box, build_probability_map(box, seed=4)) for box in shard_boxes(shape, core_px=256)),
        image=image,
        resolution=Resolution.pixel_for_pixel(shape, 0.5),
        maps=4,
        core_px=256,
        thumbnail=np.zeros((350, 2250, 3), np.uint8),
    )
    output.commit(images=["slide"], instances={})
    out = store.parent / "whole"
    _finish("stitch", "--predictions", store, "--out", out, "--workers", 2)
    return store, out


@pytest.mark.parametrize(
    "reached",
    [
        pytest.param(".work/slide/scratch/block-0-0.npz", id="in the first blocks"),
        pytest.param(".work/slide/scratch/seams-*.npz", id="in the seams"),
        pytest.param(".work/slide/scratch/table.int64", id="while ids are given"),
        pytest.param(".slide.partial/instances.zarr/1", id="while the pyramid is written"),
    ],
)
def test_stitch_by_blocks(stitched: tuple[Path, Path], tmp_path: Path, reached: str) -> None:
    out, (slide_maps, whole) = tmp_path / "instances", stitched
    command = ["stitch", "--predictions", slide_maps, "--out", out]
    small = ["--max-ram", 0.4, "--workers", 1]  # blocks of 256 px
    _kill_when(lambda: any(out.glob(reached)), out, *command, *small)
    _finish(*command, *small)
    assert not (out / ".work").exists()
    ours, theirs = _digests(out / "slide", "*"), _digests(whole / "slide", "*")
    certificates = [
        json.loads((folder / "slide" / "certificate.json").read_text()) for folder in (out, whole)
    ]
    assert [certificate.pop("cut")["block_px"] for certificate in certificates] == [256, 1024]
    assert certificates[0] == certificates[1]
    del ours["certificate.json"], theirs["certificate.json"]
    assert ours == theirs, "the bytes of the map, the table and the overlay"


def test_too_little_memory_is_told(stitched: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = _start("stitch", "--predictions", stitched[0], "--out", out, "--max-ram", 0.1)
    _, told = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert told.decode().startswith("error: max_ram_gb: 0.1 GB of memory; 2 workers need at least")
    assert not out.exists()


def test_stitch(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "instances"
    command = ["stitch", "--predictions", folder / "maps.zarr", "--out", out]
    _kill_when(lambda: any(out.glob("*/nuclei.parquet")), out, *command)
    _finish(*command)
    assert _digests(out, "*") == _digests(folder / "instances", "*")
