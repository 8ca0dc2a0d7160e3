"""Waiting for the jobs of the private Slurm."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}


def wait_for_end(slurm: Callable[..., str], job: str, *, seconds: float) -> str:
    """What Slurm shows of a job that has ended; one that was requeued goes on at once."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        shown = slurm("scontrol", "show", "job", job)
        state = next(word for word in shown.split() if word.startswith("JobState="))
        if state.removeprefix("JobState=") in ENDED:  # not REQUEUED, COMPLETING, CONFIGURING
            return shown
        _hurry(slurm)
        time.sleep(0.2)
    pytest.fail(f"not ended in {seconds} s: {shown}\n{slurm('squeue')}")


def _hurry(slurm: Callable[..., str]) -> None:
    for line in slurm("scontrol", "--oneliner", "show", "jobs").splitlines():
        if "Reason=BeginTime" not in line:
            continue
        job = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if datetime.fromisoformat(job["EligibleTime"]) > _soon(10):
            # slurmd refuses a job that it killed in the same second
            begin = _soon(2).isoformat(timespec="seconds")
            # the last task of an array goes by the number of them all
            task = job["JobId"]
            if "ArrayTaskId" in job:
                task = f"{job['ArrayJobId']}_{job['ArrayTaskId']}"
            slurm("scontrol", "update", f"JobId={task}", f"StartTime={begin}")


def _soon(seconds: int) -> datetime:
    return datetime.now() + timedelta(seconds=seconds)
