"""The comparison of plans with runs: every stage in a process, every figure with its ratio."""

import runpy
import sys
from pathlib import Path

import pytest
from support import ROOT

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "scripts" / "benchmarks" / "bench_plan.py"


def test_every_figure_of_every_stage(
    tiny_set, random_checkpoint: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    arguments = ["--manifest", tiny_set.manifest, "--checkpoint", random_checkpoint]
    arguments += ["--scratch", tmp_path]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    runpy.run_path(str(SCRIPT), run_name="__main__")
    first, names, *rows = capsys.readouterr().out.splitlines()
    assert first.startswith("plan: ")
    assert names.split() == ["stage", "figure", "estimate", "measured", "ratio"]
    table = {tuple(row.split()[:2]): row.split()[2:] for row in rows}
    for stage in ("tile", "predict", "stitch", "segment"):
        assert {(stage, f"{figure}_bytes") for figure in ("disk", "memory")} < set(table)
        assert 0.4 < float(table[stage, "memory_bytes"][2]) < 2.5
    for stage in ("tile", "predict"):
        estimate, measured, ratio = table[stage, "patches"]
        assert estimate == measured
        assert ratio == "1.00"
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_images_are_required(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])
    with pytest.raises(SystemExit):
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert "give images, --manifest or --side" in capsys.readouterr().err
