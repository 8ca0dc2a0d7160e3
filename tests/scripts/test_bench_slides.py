"""The benchmark measures runs that happened: its tables hold their nuclei, seconds and memory."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "scripts" / "benchmarks" / "bench_slides.py"


def _table(tmp_path: Path, checkpoint: Path, part: str, *arguments: object) -> list[dict[str, str]]:
    """The rows of a part, as CSV; the same is on the terminal."""
    scratch, results = tmp_path / "scratch", tmp_path / "results"
    scratch.mkdir(exist_ok=True)
    general = ["--checkpoint", checkpoint, "--threads", 1, "--device", "cpu"]
    general += ["--scratch", scratch, "--results", results]
    command = [sys.executable, SCRIPT, *general, part, *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(scratch.iterdir()), "nothing is left behind"
    rows = _read(results / f"{part}.csv")
    for row in rows:
        assert "| " + " | ".join(row.values()) + " |" in done.stdout.splitlines()
    return rows


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_a_piece_alone_and_in_a_slide(tiny_set, random_checkpoint: Path, tmp_path: Path) -> None:
    pieces = ["--pieces", f"{tiny_set.image('test')}", "--piece-px", 200]
    options = ["--shares", 25, "--places", "middle"]
    alone, moved, placed = _table(tmp_path, random_checkpoint, "same", *pieces, *options)
    assert alone["place"] == "alone"
    assert alone["PQ"] == "1"
    assert alone["nuclei alone"] == alone["in the slide"]
    assert alone["outside"] == moved["outside"] == "0"
    assert moved["slide px"] == "95 x 161"
    assert placed["slide px"] == "200 x 340", "twice the sides of the piece"
    assert 0 <= float(placed["PQ"]) <= 1
    assert 100 < float(placed["peak MB"]) < 5000
    (summary,) = _read(tmp_path / "results" / "same_summary.csv")
    assert summary["lowest PQ"] == placed["PQ"]


@pytest.mark.slow
def test_costs(tiny_set, random_checkpoint: Path, tmp_path: Path) -> None:
    options = ["--slides", tiny_set.image("test"), "--piece-side", 0, "--sides", 300]
    slide, islands = _table(tmp_path, random_checkpoint, "cost", *options, "--share", 50)
    assert slide["slide"] == "test.ome.tif"
    assert (islands["slide"], islands["px"], islands["tissue %"]) == ("islands", "300 x 300", "50")
    for row in (slide, islands):
        assert int(row["nuclei"]) > 0
        assert float(row["s"]) > 0
        assert 100 < float(row["peak MB"]) < 5000
        assert 0 <= float(row["idle %"]) <= 100


def test_masks(random_checkpoint: Path, tmp_path: Path) -> None:
    options = ["--kinds", "h&e", "fluorescence", "--side", 2304, "--cases", 1]
    bright, dark = _table(tmp_path, random_checkpoint, "mask", *options)
    assert (bright["kind"], bright["case"]) == ("h&e", "clean")
    assert (dark["kind"], dark["case"]) == ("fluorescence", "clean")
    for row in (bright, dark):
        assert int(row["bare cores"]) > 0
        assert float(row["skipped %"]) > 90
        assert int(row["nuclei"]) > 50
        assert row["lost"] == "0"


def test_a_part_must_be_named() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "required: part" in done.stderr
