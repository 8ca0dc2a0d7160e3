"""The benchmark trains each network in each way, and its ratio is that of its figures."""

import runpy
import sys

import pytest
import torch
from support import ROOT

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "scripts" / "benchmarks" / "bench_training.py"


def test_one_row_a_network_and_optimizer(capsys, monkeypatch) -> None:
    threads = str(torch.get_num_threads())  # this process keeps them
    arguments = [str(SCRIPT), "--threads", threads, "--batch", "2", "--window-px", "32"]
    arguments += ["--rounds", "1"]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(SCRIPT), run_name="__main__")
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[3:]]
    assert [tuple(row[:2]) for row in rows] == [
        (network, optimizer)
        for network in ("the default", "BasicUNet 16..256")
        for optimizer in ("adamw", "muon")
    ]
    for *_, slow, fast, ratio in rows:
        assert float(ratio) == pytest.approx(float(fast) / float(slow), abs=0.05, rel=0.05)
