"""Submit scripts to Slurm, cancel jobs, and read the limit of its arrays."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nucleipel.errors import SubmitError


def stage_function() -> str:
    """The shell function `stage`, which runs a command in a job and decides on another go."""
    return Path(__file__).with_name("stage.sh").read_text(encoding="utf-8")


def submit_script(script: Path, *, dependency: str | None) -> str:
    """Submit a batch script; returns its job id.

    Raises
    ------
    SubmitError
        If there is no sbatch, or it refuses.
    """
    waiting = [f"--dependency={dependency}", "--kill-on-invalid-dep=yes"] if dependency else []
    return _run(["sbatch", "--parsable", *waiting, str(script)]).split(";")[0].strip()


def cancel_jobs(ids: Sequence[str]) -> None:
    """Cancel jobs."""
    if ids:
        _run(["scancel", *ids])


def most_array_tasks() -> int | None:
    """Ask Slurm for the largest number of tasks of an array; None where no Slurm answers."""
    try:
        shown = _run(["scontrol", "show", "config"])
    except SubmitError:
        return None
    # MaxArraySize is one more than the largest index
    limit = re.search(r"^MaxArraySize\s*=\s*(\d+)", shown, re.MULTILINE)
    return max(1, int(limit[1]) - 1) if limit else None


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    except FileNotFoundError as error:
        raise SubmitError(
            f"{command[0]}: no such command; submit from a login node of the cluster, or read the"
            " scripts with --dry-run"
        ) from error
    if done.returncode:
        message = " ".join((done.stderr or done.stdout).split())
        raise SubmitError(f"{' '.join(command)}: {message}")
    return done.stdout
