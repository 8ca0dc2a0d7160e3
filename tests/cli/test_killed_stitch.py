"""A stitching killed with SIGKILL in each of its steps continues, to the same bytes.

The other stages: tests/scripts/test_fault_harness.py kills each of them, and checks the same.
"""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.processes import digests, finish, start, wait_until

from nucleipel.data.synthetic.generated_map import build_probability_map
from nucleipel.io.records.output import claim_output
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.write_slide import write_slide
from nucleipel.io.stores.stored_map import shard_boxes
from nucleipel.io.stores.write_predictions import PredictedImage, write_prediction

pytestmark = pytest.mark.slow

STEPS = (
    ".work/slide/scratch/*/block-0-0.npz",  # in the first blocks
    ".work/slide/scratch/*/seams-*.npz",  # in the seams
    ".work/slide/scratch/*/ids-*.npz",  # while ids are given
    ".slide.partial/instances.zarr/1",  # while the pyramid is written
)


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


def test_stitch_by_blocks(stitched: tuple[Path, Path], tmp_path: Path) -> None:
    """One run, killed in each of its steps: each time the same command goes on."""
    out, (slide_maps, whole) = tmp_path / "instances", stitched
    command = ["stitch", "--predictions", slide_maps, "--out", out]
    command += ["--max-ram", 0.4, "--threads", 1]  # blocks of 256 px
    for reached in STEPS:
        _kill_when(lambda reached=reached: any(out.glob(reached)), out, *command)
    finish(*command)
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
