"""Several processes that train together: the steps of one, and no harm if one is killed."""

import signal
from pathlib import Path

import pytest
import torch
from support.processes import Process
from support.torchrun import run_together
from support.train_discs import train_discs

from nucleipel.errors import TrainingError
from nucleipel.training.distributed import Ranks
from nucleipel.training.training_log import read_training_log

NEVER = -1


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


def _losses(out: Path) -> list[float]:
    return [row["loss"] for row in read_training_log(out)]


@pytest.mark.slow
def test_two_processes_learn_what_one_does_and_continue_when_one_was_killed(tmp_path: Path) -> None:
    for name in ("alone", "two", "killed"):
        (tmp_path / name).mkdir()
    single = Process(train_discs, tmp_path / "alone", 8, NEVER)
    message = single.finish()
    assert single.returncode == 0, message
    ends, message = run_together(train_discs, tmp_path / "two", 8, NEVER)
    assert ends == [0, 0], message
    alone, two = _losses(tmp_path / "alone"), _losses(tmp_path / "two")
    assert alone[0] > 1.2 * alone[-1], "it learned"
    assert two == pytest.approx(alone, rel=1e-4)
    seen = [set((tmp_path / "two" / f"seen-{rank}").read_text().split()) for rank in (0, 1)]
    assert not seen[0] & seen[1]
    assert seen[0] | seen[1] == set((tmp_path / "alone" / "seen-alone").read_text().split())

    killed = tmp_path / "killed"
    third_epoch = 2 * 4 * 8 + 11  # an odd number: the second process's
    ends, message = run_together(train_discs, killed, 8, third_epoch)
    assert ends[1] == -signal.SIGKILL, message
    assert ends[0] != 0, "it cannot go on alone"
    assert len(_losses(killed)) == 2, "what the first two epochs gave is kept"
    (killed / "seen-0").unlink()
    ends, message = run_together(train_discs, killed, 8, NEVER)
    assert ends == [0, 0], message
    assert _losses(killed) == two, "bit for bit"
    first = min(int(number) for number in (killed / "seen-0").read_text().split())
    assert first == 2 * 4 * 8, "the first two epochs are not done again"
