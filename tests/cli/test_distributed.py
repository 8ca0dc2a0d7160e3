"""`train` started by torchrun: one output, written by one of the processes."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import SECONDS, TRAIN, command, settings
from support.torchrun import run_together

from nucleipel.training.training_log import read_training_log

pytestmark = pytest.mark.slow


def _torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc-per-node", "2"]
    return subprocess.run(
        [*launcher, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_the_command_trains_in_two_processes(tiny_set, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["-q", "train", "--manifest", tiny_set.manifest, "--out", out]
    done = _torchrun("-m", "nucleipel", *words, *settings([*TRAIN, "epochs=2"]))
    assert done.returncode == 0, done.stderr
    assert '"complete": true' in (out / "nucleipel.json").read_text()
    assert len(read_training_log(out)) == 2
    ends, message = run_together(command, *words, *settings([*TRAIN, "epochs=3"]))
    assert 0 not in ends
    assert message.count("error: ") == 1, "reported by one of them only"
    assert "holds another run" in message
