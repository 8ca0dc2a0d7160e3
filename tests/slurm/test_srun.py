"""`train` in two processes that a real srun starts, by the script that `submit` writes."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from support.slurm_jobs import wait_for_end

from nucleipel.config import SubmitConfig
from nucleipel.stages.cluster.submit import build_jobs
from nucleipel.training.training_log import read_training_log

SECONDS = 240
EPOCHS = 20
SETTINGS = (
    "device=cpu", "workers=0", "mpp=0.5", "window_px=32", "core_px=16", "windows_per_epoch=8",
    f"epochs={EPOCHS}", "patience=100", "batch_size=4", "network.features=[16,24]",
    "network.residual_units=1", "validation_windows=2",
)  # fmt: skip


def test_srun_trains_in_two_processes_and_goes_on_after_a_warning(
    slurm: Callable[..., str], tiny_set, tmp_path: Path
) -> None:
    profile = SubmitConfig(
        command=f"{sys.executable} -m nucleipel",
        stages={"train": {"processes": 2, "set": SETTINGS, "sbatch": ["--overcommit"]}},
    )
    training = build_jobs(tiny_set.manifest, tmp_path / "out", profile, finetune=False)[0]
    script = tmp_path / "train.sbatch"
    script.write_text(training.script)
    (tmp_path / "out" / "jobs").mkdir(parents=True)
    number = slurm("sbatch", "--parsable", str(script)).strip()
    run, log = tmp_path / "out" / "train", tmp_path / "out" / "jobs" / "nucleipel-train.log"
    _wait(lambda: (run / "metrics.csv").is_file() and len(read_training_log(run)) >= 2)
    slurm("scancel", "--batch", "--signal=USR1", number)
    job = wait_for_end(slurm, number, seconds=SECONDS)
    message = log.read_text()
    assert "JobState=COMPLETED" in job, job + message
    assert "Restarts=1" in job, message
    assert json.loads((run / "nucleipel.json").read_text())["complete"] is True, message
    assert [row["epoch"] for row in read_training_log(run)] == list(range(1, EPOCHS + 1))
    # the first process speaks for both: each line stands there once
    assert message.count("continuing after epoch") == 1
    assert message.count("best PQ on val") == 1


def _wait(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.2)
