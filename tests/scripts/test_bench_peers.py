"""The comparison with other programs: one that fails has a row with the reason."""

import runpy
import sys
from pathlib import Path

import pytest
from support import ROOT

SCRIPT = ROOT / "scripts" / "benchmarks" / "bench_peers.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


@pytest.fixture
def program(script, tmp_path: Path):
    """Builds a program of a line of Python, which starts in a folder beside its output."""

    def build(code: str):
        place = f"import os; os.chdir({str(tmp_path)!r}); "
        return script["Program"]("peer", [sys.executable, "-c", place + code], tmp_path / "out")

    return build


def test_the_median_of_the_turns(program) -> None:
    peer = program('print(\'{"nuclei": 3, "remark": "known"}\')')
    for counts in (False, True, True):
        peer.take_turn(1, counts=counts)
    row = peer.row()
    assert (row["nuclei"], row["remark"], row["turns"]) == (3, "known", 2)
    assert row["wall s"] > 0


def test_each_turn_starts_without_the_output_of_the_one_before(program) -> None:
    peer = program("open('out/labels', 'x')")
    for _ in range(2):
        peer.take_turn(1, counts=True)
    assert peer.row()["turns"] == 2


def test_a_peer_that_fails_has_a_reason_and_no_figures(program) -> None:
    peer = program("raise SystemExit('no weights')")
    for _ in range(2):
        peer.take_turn(1, counts=True)
    row = peer.row()
    assert row["remark"] == "exit code 1: no weights"
    assert row["wall s"] is None


def test_a_package_that_cannot_be_installed_is_the_reason(script, tmp_path: Path) -> None:
    with pytest.raises(script["PeerError"], match=r"exit code 1: (ERROR|Hint)"):
        script["environment"](tmp_path / "peer", ("./no-such-package",))
    assert not (tmp_path / "peer" / "complete").exists()
