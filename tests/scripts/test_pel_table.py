"""The table of the PEL results: gains from patches and from the loss, by the ablations' rows."""

import csv
import runpy
from pathlib import Path

import pytest
from support import ROOT

SCRIPT = ROOT / "scripts" / "reproduce" / "pel_table.py"
POINTS = {("control", "none"): 1.5, ("pel", "none"): 1.75, ("pel", "control"): 0.25}


def _run(*arguments: object) -> None:
    runpy.run_path(str(SCRIPT))["main"]([str(argument) for argument in arguments])


def _ablation(folder: Path, *, factor: float = 1, split: str = "test", low: float = 0.5) -> Path:
    folder.mkdir()
    with (folder / "differences.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        head = ["split", "arm", "reference", "measure", "seeds", "images", "sources"]
        writer.writerow([*head, "points", "low", "high"])
        for (arm, reference), points in POINTS.items():
            for measure in ("dice", "aji", "pq", "ap@0.50", "ap@0.75"):
                value = factor * points * (2 if measure == "pq" else 1)
                places = [split, arm, reference, measure, 5, 65, 30]
                writer.writerow([*places, value, value - low, value + low])
    return folder


def test_patches_and_loss_stand_apart(tmp_path: Path) -> None:
    first = _ablation(tmp_path / "first")
    second = _ablation(tmp_path / "second", factor=-1, low=float("nan"))
    _run("--out", tmp_path / "answer", f"windows={first}", f"whole={second}")
    lines = (tmp_path / "answer.md").read_text().splitlines()
    assert lines[0].split(" | ")[3:6] == ["Dice: patches", "Dice: loss", "Dice: both"]
    cells = [line.strip("| ").split(" | ") for line in lines[2:]]
    assert [row[:3] for row in cells] == [
        ["windows", "`control`", "5"],
        ["windows", "`pel`", "5"],
        ["whole", "`control`", "5"],
        ["whole", "`pel`", "5"],
    ]
    assert cells[1][3:] == [
        "+1.50 [+1.00, +2.00]",
        "+0.25 [-0.25, +0.75]",
        "+1.75 [+1.25, +2.25]",
        "+3.00 [+2.50, +3.50]",
        "+0.50 [+0.00, +1.00]",
        "+3.50 [+3.00, +4.00]",
    ]
    assert cells[3][3:6] == ["-1.50", "-0.25", "-1.75"], "without an interval"
    assert cells[0][4] == "", "the control is not compared with itself"
    with (tmp_path / "answer.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 2 * 5
    row = next(row for row in rows if (row["arm"], row["measure"]) == ("pel", "pq"))
    assert (row["patches points"], row["loss low"], row["seeds"]) == ("3.0", "0.0", "5")


def test_what_is_no_finished_ablation_is_named(tmp_path: Path) -> None:
    on_val = _ablation(tmp_path / "val", split="val")
    with pytest.raises(SystemExit, match="no arm was scored on test"):
        _run("--out", tmp_path / "answer", f"val={on_val}")
    with pytest.raises(SystemExit, match="x=gone: expected NAME=DIR"):
        _run("--out", tmp_path / "answer", "x=gone")
