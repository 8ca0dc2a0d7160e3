"""The comparison of plans with runs: every stage in a process, every figure with its ratio."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import ROOT
from support.processes import popen
from support.untrained import small_network, write_untrained

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "scripts" / "benchmarks" / "bench_plan.py"


def test_every_figure_of_every_stage(tiny_set, tmp_path: Path, capsys, monkeypatch) -> None:
    network, scratch = small_network(block_px=1), tmp_path / "scratch"
    run = write_untrained(tmp_path / "run", network, core_px=64, instances={"min_area_px": 1})
    scratch.mkdir()
    arguments = ["--manifest", tiny_set.manifest, "--checkpoint", run, "--scratch", scratch]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    main = runpy.run_path(str(SCRIPT))["main"]
    monkeypatch.setitem(main.__globals__, "subprocess", SimpleNamespace(Popen=popen))
    main()
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
    assert not list(scratch.iterdir()), "nothing is left behind"


def test_images_are_required(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])
    with pytest.raises(SystemExit):
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert "give images, --manifest or --side" in capsys.readouterr().err
