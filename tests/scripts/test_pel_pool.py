"""Several ablations as one: an arm is compared within its base and seed only."""

import csv
import runpy
from collections.abc import Sequence
from pathlib import Path

import pytest
from support import ROOT

SCRIPT = ROOT / "scripts" / "reproduce" / "pel_pool.py"
MEASURES = ("dice", "aji", "pq", "ap@0.50", "ap@0.75")
GAINS = {"none": 0.0, "control": 0.01, "pel": 0.03}


def _run(*arguments: object) -> None:
    runpy.run_path(str(SCRIPT))["main"]([str(argument) for argument in arguments])


def _write(file: Path, rows: list[dict[str, object]]) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _ablation(
    folder: Path,
    *,
    base: float,
    seeds: Sequence[int],
    gains: dict[str, float] = GAINS,
    images: Sequence[str] = ("a", "b", "c"),
    **columns: str,
) -> Path:
    """Every score is the base's, a little more for each seed, and the arm's gain."""
    folder.mkdir()
    runs = [(arm, seed) for arm in gains for seed in (seeds if arm != "none" else [0])]
    table: list[dict[str, object]] = []
    for arm, seed in runs:
        score = base + (gains[arm] + seed / 1000 if arm != "none" else 0)
        for place, image in enumerate(images):
            row = {"split": "test", "arm": arm, "seed": seed, "id": image, "source_id": image}
            table.append(row | dict.fromkeys(MEASURES, score + place / 10))
    _write(folder / "images.csv", table)
    _write(
        folder / "results.csv",
        [{"arm": arm, "seed": seed, "split": "test"} | columns for arm, seed in runs],
    )
    return folder


def test_seeds_of_all_ablations_count_alike(tmp_path: Path) -> None:
    first = _ablation(tmp_path / "first", base=0.5, seeds=[0])
    second = _ablation(
        tmp_path / "second", base=0.6, seeds=[1, 2], gains=GAINS | {"pel": 0.06}, block_px="64"
    )
    _run("--out", tmp_path / "out", first, second)
    rows = {
        (row["arm"], row["reference"]): row
        for row in _rows(tmp_path / "out" / "differences.csv")
        if row["measure"] == "pq"
    }
    # points: of pel over the control 2 with one seed and 5 with two, whatever the bases had
    expected = {("pel", "control"): 4.0, ("pel", "none"): 5.1, ("control", "none"): 1.1}
    assert {pair: float(row["points"]) for pair, row in rows.items()} == pytest.approx(expected)
    assert {row["seeds"] for row in rows.values()} == {"3"}
    of_pel = rows["pel", "control"]
    assert float(of_pel["low"]) == pytest.approx(2), "no draw of the three seeds has less"
    assert float(of_pel["high"]) == pytest.approx(5), "or more"
    assert (tmp_path / "out" / "differences_test.png").is_file()
    results = _rows(tmp_path / "out" / "results.csv")
    assert [(row["ablation"], row["block_px"]) for row in results if row["arm"] == "pel"] == [
        ("first", ""),
        ("second", "64"),
        ("second", "64"),
    ], "a column that only one has"
    assert len(_rows(tmp_path / "out" / "images.csv")) == 3 * (3 + 5)


def test_named_arms_only(tmp_path: Path) -> None:
    first = _ablation(tmp_path / "first", base=0.5, seeds=[0])
    second = _ablation(tmp_path / "second", base=0.5, seeds=[0], gains=GAINS | {"rival": 0.02})
    _run("--out", tmp_path / "all", first, second)
    assert {row["arm"] for row in _rows(tmp_path / "all" / "differences.csv")} == {"control", "pel"}
    _run("--out", tmp_path / "one", "--arms", "control", first, second)
    assert {row["arm"] for row in _rows(tmp_path / "one" / "differences.csv")} == {"control"}
    with pytest.raises(SystemExit, match="rival: not on test in every ablation"):
        _run("--out", tmp_path / "none", "--arms", "rival", first, second)
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_paired_is_refused(tmp_path: Path) -> None:
    first = _ablation(tmp_path / "first", base=0.5, seeds=[0])
    other = _ablation(tmp_path / "other", base=0.5, seeds=[0], images=["a", "b", "d"])
    with pytest.raises(SystemExit, match="scored on other images"):
        _run("--out", tmp_path / "out", first, other)
    uneven = _ablation(tmp_path / "uneven", base=0.5, seeds=[0, 1])
    rows = [
        row for row in _rows(uneven / "images.csv") if (row["arm"], row["seed"]) != ("pel", "1")
    ]
    _write(uneven / "images.csv", [dict(row) for row in rows])
    with pytest.raises(SystemExit, match="other seeds than others"):
        _run("--out", tmp_path / "out", first, uneven)
    with pytest.raises(SystemExit, match=r"nothing.*no such file"):
        _run("--out", tmp_path / "out", first, tmp_path / "nothing")
    assert not (tmp_path / "out").exists()
