"""The scripts' shell function on a real Slurm: requeues a warned job, and a failed one once."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.slurm_jobs import wait_for_end

from nucleipel.io.sbatch import stage_function

SECONDS = 60


def _submit(slurm: Callable[..., str], folder: Path, command: str) -> str:
    script = folder / "job.sbatch"
    script.write_text(
        f"#!/bin/bash\n#SBATCH --requeue\n#SBATCH --output={folder}/log\n"
        f"#SBATCH --open-mode=append\nRESTARTS=3\nRETRIES=1\n{stage_function()}\n"
        f"{command} || exit\necho end\n"
    )
    return slurm("sbatch", "--parsable", str(script)).strip()


def test_a_warned_job_is_requeued_and_goes_on(slurm: Callable[..., str], tmp_path: Path) -> None:
    work = (
        '[ "${SLURM_RESTART_COUNT:-0}" = 1 ] && { echo second; exit 0; };'
        ' trap "exit 75" USR1; echo first; while :; do sleep 0.1; done'
    )
    job = _submit(slurm, tmp_path, f"stage bash -c '{work}'")
    deadline = time.monotonic() + SECONDS
    while "first" not in _read(tmp_path / "log") and time.monotonic() < deadline:
        time.sleep(0.1)
    slurm("scancel", "--batch", "--signal=USR1", job)
    shown = wait_for_end(slurm, job, seconds=SECONDS)
    assert "JobState=COMPLETED" in shown
    assert "Restarts=1" in shown
    message = _read(tmp_path / "log").splitlines()  # beside what bash says of its end
    assert [line for line in message if line in ("first", "second", "end")] == [
        "first",
        "second",
        "end",
    ]


@pytest.mark.parametrize(("code", "restarts"), [(1, 1), (2, 0)])
def test_a_failed_job_is_tried_once_more_a_mistake_is_not(
    slurm: Callable[..., str], tmp_path: Path, code: int, restarts: int
) -> None:
    job = _submit(slurm, tmp_path, f"stage bash -c 'echo tried; exit {code}'")
    shown = wait_for_end(slurm, job, seconds=SECONDS)
    assert "JobState=FAILED" in shown
    assert f"ExitCode={code}:0" in shown
    assert f"Restarts={restarts}" in shown
    message = _read(tmp_path / "log").splitlines()
    assert message.count("tried") == 1 + restarts
    assert "end" not in message


def _read(path: Path) -> str:
    return path.read_text() if path.is_file() else ""
