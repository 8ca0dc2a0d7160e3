"""The plugin in a real napari: its readers and its widget."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import tifffile
from support import ROOT
from support.command_line import accepted

from nucleipel.api.datasets import sample
from nucleipel.io.manifest import read_manifest
from nucleipel.io.slides.write_slide import write_slide

SESSION = Path(__file__).with_name("session.py")


def _python() -> str:
    """The program that has napari: the one that is named, or this one."""
    named = os.environ.get("NUCLEIPEL_NAPARI_PYTHON")
    if named is None and find_spec("napari") is None:
        pytest.skip("napari is not installed")
    return named or sys.executable


@pytest.mark.slow
def test_a_session_in_napari(tmp_path: Path) -> None:
    python, window = _python(), []
    if "DISPLAY" not in os.environ:
        if shutil.which("xvfb-run") is None:
            pytest.skip("neither a display nor xvfb-run is there")
        window = ["xvfb-run", "-a", "-s", "-screen 0 1400x900x24"]
    slide = tmp_path / "sample.ome.tif"
    write_slide(slide, sample(256).image, mpp=0.5)
    out, folder = tmp_path / "out", tmp_path / "saved"
    accepted("segment", slide, "--stained-as", "dye", "--device", "cpu", "--out", out)
    svs = tmp_path / "sample.svs"
    slide.rename(svs)
    folder.mkdir()
    ended = subprocess.run(
        [*window, python, str(SESSION), str(out), str(svs), str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "QT_API": "pyqt6"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.stdout.endswith("all done\n"), ended.stdout + ended.stderr
    (row,) = read_manifest(folder / "manifest.csv").annotated()
    assert (row.mpp, row.split) == (0.5, "train")
    labels = tifffile.imread(folder / "labels" / f"{row.id}.tif")
    assert labels[:8, :8].min() == labels[:8, :8].max() == labels.max()
    assert (tifffile.imread(folder / "images" / f"{row.id}.ome.tif") == tifffile.imread(svs)).all()
    region = row.load_annotation(labels.shape).region
    assert region is not None
    assert region.boxes.tolist() == [[0, 0, 11, 11]]
    assert (folder / "napari.png").stat().st_size > 10_000
