"""The benchmark measures runs that happened: its tables hold their nuclei, seconds and memory."""

import csv
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import ROOT
from support.processes import popen
from support.untrained import small_network, write_untrained

from nucleipel.instances.instance_rule import InstanceRule

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "scripts" / "benchmarks" / "bench_slides.py"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was never trained, with cores that are few on these slides."""
    rule = asdict(InstanceRule(min_area_px=1))
    return write_untrained(
        tmp_path_factory.mktemp("checkpoint"), small_network(block_px=1), core_px=64, instances=rule
    )


@pytest.fixture
def bench(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., list[dict[str, str]]]:
    """A part of the benchmark, with arguments; its rows as CSV, which are also on the terminal."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    main = runpy.run_path(str(SCRIPT))["main"]
    from slides import command

    monkeypatch.setattr(command, "START_PX", 64)
    forked = SimpleNamespace(Popen=popen, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(command, "subprocess", forked)

    def run(*part: object) -> list[dict[str, str]]:
        scratch, results = tmp_path / "scratch", tmp_path / "results"
        scratch.mkdir(exist_ok=True)
        general = ["--checkpoint", checkpoint, "--threads", 1, "--device", "cpu"]
        general += ["--scratch", scratch, "--results", results]
        words = [str(word) for word in (SCRIPT, *general, *part)]
        monkeypatch.setattr(sys, "argv", words)
        main()
        assert not list(scratch.iterdir()), "nothing is left behind"
        rows = _read(results / f"{part[0]}.csv")
        printed = capsys.readouterr().out.splitlines()
        for row in rows:
            assert "| " + " | ".join(row.values()) + " |" in printed
        return rows

    return run


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_piece_alone_and_in_a_slide(bench, tiny_set, tmp_path: Path) -> None:
    pieces = ["--pieces", f"{tiny_set.image('test')}", "--piece-px", 200]
    options = ["--shares", 25, "--places", "middle"]
    alone, moved, placed = bench("same", *pieces, *options)
    assert alone["place"] == "alone"
    assert alone["PQ"] == "1"
    assert alone["nuclei alone"] == alone["in the slide"]
    assert alone["outside"] == moved["outside"] == "0"
    assert moved["slide px"] == "95 x 161"
    assert placed["slide px"] == "200 x 340", "twice the sides of the piece"
    assert 0 <= float(placed["PQ"]) <= 1
    assert 50 < float(placed["peak MB"]) < 5000
    (summary,) = _read(tmp_path / "results" / "same_summary.csv")
    assert summary["lowest PQ"] == placed["PQ"]


def test_costs(bench, tiny_set) -> None:
    options = ["--slides", tiny_set.image("test"), "--piece-side", 0, "--sides", 300]
    slide, islands = bench("cost", *options, "--share", 50)
    assert slide["slide"] == "test.ome.tif"
    assert (islands["slide"], islands["px"], islands["tissue %"]) == ("islands", "300 x 300", "50")
    for row in (slide, islands):
        assert int(row["nuclei"]) > 0
        assert float(row["s"]) > 0
        assert 50 < float(row["peak MB"]) < 5000
        assert 0 <= float(row["idle %"]) <= 100


def test_masks(bench) -> None:
    options = ["--kinds", "h&e", "fluorescence", "--side", 1152, "--cases", 1]
    bright, dark = bench("mask", *options)
    assert (bright["kind"], bright["case"]) == ("h&e", "clean")
    assert (dark["kind"], dark["case"]) == ("fluorescence", "clean")
    for row in (bright, dark):
        assert int(row["bare cores"]) > 0
        assert float(row["skipped %"]) > 90
        assert int(row["nuclei"]) > 30
        assert row["lost"] == "0"


def test_a_part_must_be_named(bench, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        bench()
    assert "required: part" in capsys.readouterr().err
