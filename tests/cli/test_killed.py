"""Commands killed with SIGKILL in the middle: the same command continues, to the same bytes."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.processes import (
    digests,
    finish,
    predict_command,
    start,
    stitch_command,
    train_command,
    wait_until,
)

from nucleipel.data.synthetic.generated_map import build_probability_map
from nucleipel.io.records.output import claim_output
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.write_slide import write_slide
from nucleipel.io.stores.stored_map import shard_boxes
from nucleipel.io.stores.write_predictions import PredictedImage, write_prediction

pytestmark = pytest.mark.slow


def _kill_when(reached: Callable[[], bool], out: Path, *arguments: object) -> None:
    for _ in range(5):  # on a busy machine the end may outrun the kill: then once more
        process = start(*arguments)
        wait_until(reached, process)
        process.kill()
        message = process.finish()
        assert reached(), message
        if process.returncode == -signal.SIGKILL:
            return
        shutil.rmtree(out)
    pytest.fail("it always ended before it could be killed")


def test_train(undisturbed: Path, tiny_set, tmp_path: Path) -> None:
    out = tmp_path / "train"
    command = train_command(tiny_set.manifest, out)
    _kill_when((out / "state.json").is_file, out, *command)
    finish(*command)
    assert digests(out, "checkpoint.*") == digests(undisturbed / "train", "checkpoint.*")


def test_predict(undisturbed: Path, tiny_set, tmp_path: Path) -> None:
    out = tmp_path / "maps.zarr"
    command = predict_command(tiny_set.manifest, undisturbed / "train", out)
    _kill_when(lambda: any(out.glob("*/map/c/0/*/*")), out, *command)
    finish(*command)
    assert digests(out, "c/**/*") == digests(undisturbed / "maps.zarr", "c/**/*")


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
        PredictedImage(image, Resolution.pixel_for_pixel(shape, 0.5)),
        np.zeros((350, 2250, 3), np.uint8),
        maps=4,
        core_px=256,
    )
    output.commit(images=["slide"], instances={})
    out = store.parent / "whole"
    finish("stitch", "--predictions", store, "--out", out, "--threads", 2)
    return store, out


@pytest.mark.parametrize(
    "reached",
    [
        pytest.param(".work/slide/scratch/*/block-0-0.npz", id="in the first blocks"),
        pytest.param(".work/slide/scratch/*/seams-*.npz", id="in the seams"),
        pytest.param(".work/slide/scratch/*/ids-*.npz", id="while ids are given"),
        pytest.param(".slide.partial/instances.zarr/1", id="while the pyramid is written"),
    ],
)
def test_stitch_by_blocks(stitched: tuple[Path, Path], tmp_path: Path, reached: str) -> None:
    out, (slide_maps, whole) = tmp_path / "instances", stitched
    command = ["stitch", "--predictions", slide_maps, "--out", out]
    small = ["--max-ram", 0.4, "--threads", 1]  # blocks of 256 px
    _kill_when(lambda: any(out.glob(reached)), out, *command, *small)
    finish(*command, *small)
    assert not (out / ".work").exists()
    ours, theirs = digests(out / "slide", "*"), digests(whole / "slide", "*")
    certificates = [
        json.loads((folder / "slide" / "certificate.json").read_text()) for folder in (out, whole)
    ]
    assert [certificate.pop("cut")["block_px"] for certificate in certificates] == [256, 1024]
    assert certificates[0] == certificates[1]
    del ours["certificate.json"], theirs["certificate.json"]
    assert ours == theirs, "the bytes of the map, the table and the overlay"


def test_too_little_memory_is_reported(stitched: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("stitch", "--predictions", stitched[0], "--out", out, "--max-ram", 0.1)
    message = process.finish()
    assert process.returncode == 1
    assert message.startswith("error: max_ram_gb: 0.1 GB of memory; 2 threads need at least")
    assert not out.exists()


def test_stitch(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "instances"
    command = stitch_command(undisturbed / "maps.zarr", out)
    _kill_when(lambda: any(out.glob("*/nuclei.parquet")), out, *command)
    finish(*command)
    assert digests(out, "*") == digests(undisturbed / "instances", "*")
