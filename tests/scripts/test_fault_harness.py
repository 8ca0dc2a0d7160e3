"""A short form of the fault harness: kills over all stages, and flipped bits of every output."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from support import ROOT
from support.processes import Process

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "scripts" / "checks" / "fault_harness.py"
STAGES = {"train", "tile", "finetune-patches", "predict", "stitch"}
SLIDES = {"train": (96, 128), "val": (64, 64), "test": (96, 128)}
FEWER = {
    "TRAIN": {"epochs=6": "epochs=3", "windows_per_epoch=32": "windows_per_epoch=16"},
    "FINETUNE": {"epochs=3": "epochs=2", "patches_per_epoch=32": "patches_per_epoch=16"},
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


def _run(work: Path, *arguments: object) -> list[dict]:
    results = work / f"{arguments[0]}.jsonl"
    options = ["--work", work, "--results", results, "--seed", 1]
    process = Process(_harness, *options, *arguments)
    message = process.finish(seconds=900)
    rows = (
        [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    )
    assert process.returncode == 0, (message, [row for row in rows if not row["right"]])
    return rows


def _harness(arguments: list[str]) -> None:
    """Be the script, on smaller slides and with fewer epochs."""
    sys.path.insert(0, str(SCRIPT.parent))
    main = runpy.run_path(str(SCRIPT))["main"]
    from faults import stages

    stages.SLIDES = SLIDES
    for name, fewer in FEWER.items():
        settings = getattr(stages, name)
        assert fewer.keys() <= set(settings)
        setattr(stages, name, tuple(fewer.get(one, one) for one in settings))
    sys.exit(main(arguments))


def test_killed_runs_end_as_the_undisturbed_one_and_do_nothing_twice(work: Path) -> None:
    rows = _run(work, "kills", "--trials", 10)
    assert {row["stage"] for row in rows} == STAGES
    assert all(row["right"] and row["done_again"] == 0 for row in rows)
    assert sum(row["kills"] for row in rows) >= 5
    assert sum(row["committed"] for row in rows) > 0


def test_no_flipped_bit_is_silent(work: Path) -> None:
    rows = _run(work, "flips", "--flips", 6)
    assert {row["stage"] for row in rows} == STAGES
    assert len(rows) == 6 * len(STAGES)
    assert all(row["right"] for row in rows)
    assert sum(row["verify"] for row in rows) > 0.95 * len(rows)


def test_a_double_start_gives_one_result(work: Path) -> None:
    rows = _run(work, "starts", "--trials", 5)
    assert {row["stage"] for row in rows} == STAGES
    assert all(row["right"] for row in rows)


def test_shards_that_start_together_give_one_result(work: Path) -> None:
    rows = _run(work, "shards", "--trials", 3)
    assert {row["stage"] for row in rows} == {"tile", "predict", "stitch"}
    assert all(row["right"] for row in rows)
