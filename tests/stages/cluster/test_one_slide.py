"""One slide on several workers: the bytes of a local run, whoever dies, and poison named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, dying_workers
from support.small_parts import share_small_slides
from support.two_islands import (
    DEADLY_SHARD,
    NAMED,
    POISON,
    files_of,
    write_network,
    write_two_slides,
)

from nucleipel.config import SegmentConfig
from nucleipel.io.manifest import read_manifest
from nucleipel.stages.pipeline.segment import segment

pytestmark = pytest.mark.slow


SECONDS = 600
"""After this long something hangs."""
SMALL_SLIDES = """\
from nucleipel.cli import cli
from support.small_parts import share_small_slides

share_small_slides()
cli()
"""


def test_a_slide_in_parts_of_which_a_worker_dies_and_one_with_a_deadly_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share_small_slides(monkeypatch.setattr)
    manifest, checkpoint = write_two_slides(tmp_path), write_network(tmp_path / "network")
    rows = read_manifest(manifest, needed=()).of_ids(["train"])
    config = SegmentConfig(device="cpu", threads=1, keep_predictions=True)
    segment(checkpoint, rows, tmp_path / "local", config)

    left, out = tmp_path / "died", tmp_path / "shared"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "OMP_NUM_THREADS": "1",
        "DASK_DISTRIBUTED__WORKER__PRELOAD": f'["{dying_workers.__file__}"]',
        dying_workers.ONCE: str(left),
        dying_workers.SHARD: DEADLY_SHARD,
        dying_workers.SMALL: "1",
    }
    command = [
        sys.executable, "-c", SMALL_SLIDES, "segment", "--checkpoint", checkpoint,
        "--manifest", manifest, "--out", out, "--device", "cpu", "--threads", "1",
        "--set", "keep_predictions=true", "--workers", "2", "--allow-missing",
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert left.exists(), "nobody died"
    assert f"{POISON}-2-of-2  " in done.stderr
    assert NAMED in done.stderr
    assert json.loads((out / "nucleipel.json").read_text())["missing"] == [POISON]
    for folder in (".", "predictions.zarr"):
        expected = files_of(tmp_path / "local" / folder, "train")
        assert len(expected) > 4
        assert files_of(out / folder, "train") == expected
