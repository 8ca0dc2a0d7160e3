"""Several processes that train together: the steps of one, and no harm if one is killed."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import ROOT

from nucleipel.errors import TrainingError
from nucleipel.training.distributed import Ranks
from nucleipel.training.training_log import read_training_log

SCRIPT = ROOT / "tests" / "support" / "train_discs.py"
NEVER = -1
SECONDS = 240


class _Fabric:
    """The part of a fabric that `Ranks` uses, in one of several processes."""

    def __init__(self, number: int, count: int) -> None:
        self.global_rank, self.world_size, self.is_global_zero = number, count, number == 0


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_every_step_sees_the_same_samples(count: int) -> None:
    batch_size, numbers = 6, range(18, 60)
    ranks = [Ranks(_Fabric(number, count)) for number in range(count)]
    shares = [
        list(torch.utils.data.BatchSampler(rank.share(numbers), rank.share_size(batch_size), False))
        for rank in ranks
    ]
    for step, parts in enumerate(zip(*shares, strict=True)):
        seen = sorted(number for part in parts for number in part)
        assert seen == list(numbers[step * batch_size : (step + 1) * batch_size])


def test_a_batch_must_be_shared_out_evenly() -> None:
    with pytest.raises(TrainingError, match="batch_size 8 cannot be shared by 3 processes"):
        Ranks(_Fabric(0, 3)).share_size(8)


def _torchrun(*arguments: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    launcher += ["--master-addr", "127.0.0.1", "--master-port", "0", "--standalone"]
    return subprocess.run(
        [*launcher, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def _losses(out: Path) -> list[float]:
    return [row["loss"] for row in read_training_log(out)]


@pytest.mark.slow
def test_two_processes_learn_what_one_does_and_continue_when_one_was_killed(tmp_path: Path) -> None:
    for name in ("alone", "two", "killed"):
        (tmp_path / name).mkdir()
    subprocess.run([sys.executable, SCRIPT, tmp_path / "alone", "8", str(NEVER)], check=True)
    done = _torchrun(SCRIPT, tmp_path / "two", 8, NEVER)
    assert done.returncode == 0, done.stderr
    alone, two = _losses(tmp_path / "alone"), _losses(tmp_path / "two")
    assert alone[0] > 1.2 * alone[-1], "it learned"
    assert two == pytest.approx(alone, rel=1e-4)
    seen = [set((tmp_path / "two" / f"seen-{rank}").read_text().split()) for rank in (0, 1)]
    assert not seen[0] & seen[1]
    assert seen[0] | seen[1] == set((tmp_path / "alone" / "seen-alone").read_text().split())

    killed = tmp_path / "killed"
    third_epoch = 2 * 4 * 8 + 11  # an odd number: the second process's
    assert _torchrun(SCRIPT, killed, 8, third_epoch).returncode != 0
    assert len(_losses(killed)) == 2, "what the first two epochs gave is kept"
    (killed / "seen-0").unlink()
    done = _torchrun(SCRIPT, killed, 8, NEVER)
    assert done.returncode == 0, done.stderr
    assert _losses(killed) == two, "bit for bit"
    first = min(int(number) for number in (killed / "seen-0").read_text().split())
    assert first == 2 * 4 * 8, "the first two epochs are not done again"
