"""The table of several sets: a perfect one scores 1, a shifted one less, in both layouts."""

import csv
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from support import ROOT

SCRIPT = ROOT / "scripts" / "benchmarks" / "bench_accuracy.py"


def _run(*arguments: object) -> None:
    runpy.run_path(str(SCRIPT))["main"]([str(argument) for argument in arguments])


@pytest.fixture
def sets(tiny_set, tmp_path: Path) -> list[str]:
    annotation = tifffile.imread(tiny_set.folder / "test_label.tif").astype(np.uint32)
    (tmp_path / "perfect" / "test").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "perfect" / "test" / "instances.ome.tif", annotation)
    (tmp_path / "shifted").mkdir()
    tifffile.imwrite(tmp_path / "shifted" / "test.tif", np.roll(annotation, 3, axis=1))
    return [f"{name}={tmp_path / name}" for name in ("perfect", "shifted")]


def test_sets_are_compared_on_the_same_images(tiny_set, sets, tmp_path: Path, capsys) -> None:
    out = tmp_path / "table.csv"
    _run("--manifest", tiny_set.manifest, "--split", "test", "--csv", out, *sets)
    with out.open() as stream:
        perfect, shifted = csv.DictReader(stream)
    assert (perfect["set"], perfect["images"]) == ("perfect", "1")
    assert {perfect[name] for name in list(perfect)[2:]} == {"1.0000"}
    assert 0 < float(shifted["pq"]) < 1
    assert float(shifted["ap@0.50"]) > float(shifted["ap@0.90"])
    shown = capsys.readouterr().out
    assert shown.index("perfect") < shown.index("shifted")


def test_what_is_missing_is_reported(tiny_set, sets, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"error: .*gone.test.instances\.ome\.tif: no such file"):
        _run("--manifest", tiny_set.manifest, f"gone={tmp_path / 'gone'}")
    with pytest.raises(SystemExit, match=r"no mpp is '7'; found 0\.5"):
        _run("--manifest", tiny_set.manifest, "--where", "mpp=7", *sets)


def test_it_needs_no_installed_script(tiny_set, sets) -> None:
    import subprocess

    done = subprocess.run(
        [sys.executable, SCRIPT, "--manifest", tiny_set.manifest, *sets],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ap@0.90" in done.stdout


def test_intervals_hold_the_scores_and_the_lead(tiny_set, sets, tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    _run("--manifest", tiny_set.manifest, "--split", "test", "--intervals", "--csv", out, *sets)
    with out.open() as stream:
        table = {row["set"]: float(row["pq"]) for row in csv.DictReader(stream)}
    lead = table["perfect"] - table["shifted"]
    assert table["perfect - shifted"] == pytest.approx(lead, abs=1e-4)
    # one source: every draw of it is the set itself
    for name in ("perfect", "shifted", "perfect - shifted"):
        assert table[f"{name}, from"] == table[name] == table[f"{name}, to"]
