"""The benchmark measures a run that happened: its row holds the nuclei and the split."""

import runpy
import sys
from pathlib import Path

import pytest
from support import ROOT

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "scripts" / "benchmarks" / "bench_slides.py"


def test_one_row_a_slide(
    tiny_set, random_checkpoint: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    arguments = [tiny_set.image("test"), "--checkpoint", random_checkpoint, "--threads", 1]
    arguments += ["--device", "cpu", "--scratch", tmp_path, "--side", 300, "--tissue", 1]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments), "--memory"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    _, names, *rows = capsys.readouterr().out.splitlines()
    assert names.split()[:3] == ["slide", "mask", "Mpx"]
    table = [
        dict(zip(names.replace("peak MB", "peak").split(), row.split(), strict=True))
        for row in rows
    ]
    assert [row["slide"] for row in table] == ["test.ome.tif", "generated-300.ome.tif"]
    assert [float(row["Mpx"]) for row in table] == [0.0, 0.1]
    for row in table:
        assert int(row["nuclei"]) > 0
        assert 100 < float(row["peak"]) < 5000
        assert 0 <= float(row["idle"].rstrip("%")) <= 100
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_something_must_be_given(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])
    with pytest.raises(SystemExit):
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert "give slides, or --side" in capsys.readouterr().err
