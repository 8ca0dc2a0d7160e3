"""What a slide with annotated regions takes follows its regions, not its size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.sparse_slide import SIDE_PX, write_sparse_slide

REGIONS = 3


def _peak(folder: Path, size_px: int) -> float:
    folder.mkdir()
    manifest = write_sparse_slide(folder, size_px, regions=REGIONS)
    command = [sys.executable, "-m", "support.sparse_slide", str(manifest)]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, check=True, text=True
    )
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["percent"] == pytest.approx(100 * REGIONS * SIDE_PX**2 / size_px**2, rel=1e-2)
    assert report["nuclei"] > 100
    return float(report["peak_mb"])


@pytest.mark.slow
def test_memory_is_that_of_the_regions(tmp_path: Path) -> None:
    """One byte a pixel more of the large slide would be 2.4 GB."""
    small, large = (_peak(tmp_path / str(size), size) for size in (3000, 50_000))
    assert large < small + 100
