"""What a slide with annotated regions takes follows its regions, not its size."""

import json
from pathlib import Path

import pytest
from support.processes import Process
from support.sparse_slide import SIDE_PX, use_sparse_slide, write_sparse_slide

REGIONS = 3


def _peak(folder: Path, size_px: int) -> float:
    folder.mkdir()
    manifest = write_sparse_slide(folder, size_px, regions=REGIONS)
    process = Process(_use, manifest, folder / "used.json")
    message = process.finish()
    assert process.returncode == 0, message
    report = json.loads((folder / "used.json").read_text())
    assert report["percent"] == pytest.approx(100 * REGIONS * SIDE_PX**2 / size_px**2, rel=1e-2)
    assert report["nuclei"] > 100
    return float(report["peak_mb"])


def _use(arguments: list[str]) -> None:
    manifest, out = map(Path, arguments)
    out.write_text(json.dumps(use_sparse_slide(manifest)))


@pytest.mark.slow
def test_memory_is_that_of_the_regions(tmp_path: Path) -> None:
    """One byte a pixel more of the large slide would be 2.4 GB."""
    small, large = (_peak(tmp_path / str(size), size) for size in (3000, 50_000))
    assert large < small + 100
