"""The plain scripts on a real Slurm, with a stand-in for nucleipel that logs how it was called."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from support import ROOT
from support.slurm_jobs import wait_for_end

SECONDS = 120
TASKS = 2
# the private Slurm has neither a GPU nor the memory that the scripts ask for
SBATCH = '#!/bin/bash\nexec {sbatch} --gres=none --cpus-per-task=1 --mem=0 "$@"\n'
NUCLEIPEL = '#!/bin/bash\necho "$@" >>{log}\n'


def test_the_chain_calls_every_stage_in_its_order(
    slurm: Callable[..., str], tmp_path: Path
) -> None:
    programs, log = tmp_path / "bin", tmp_path / "commands"
    programs.mkdir()
    (programs / "sbatch").write_text(SBATCH.format(sbatch=shutil.which("sbatch")))
    (programs / "nucleipel").write_text(NUCLEIPEL.format(log=log))
    for program in programs.iterdir():
        program.chmod(0o755)
    last = subprocess.run(
        [ROOT / "scripts" / "slurm" / "chain.sh"],
        env={
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "MANIFEST": "m.csv",
            "OUT": str(tmp_path / "out"),
            "TASKS": str(TASKS),
        },
        cwd=tmp_path,  # not the repository: the function is found by what chain.sh exports
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert "JobState=COMPLETED" in wait_for_end(slurm, last, seconds=SECONDS)

    commands = log.read_text().splitlines()
    stages = [command.split()[0] for command in commands]
    assert sorted(stages[: TASKS + 2]) == ["tile"] * (TASKS + 1) + ["train"]
    assert stages[TASKS + 2] == "finetune-patches"
    assert sorted(stages[TASKS + 3 : -3]) == ["predict"] * TASKS + ["stitch"] * TASKS
    assert stages[-3:] == ["predict", "stitch", "evaluate"]
    shards = {command.split()[-1] for command in commands if command.startswith("stitch")}
    assert shards == {f"{task}/{TASKS}" for task in range(1, TASKS + 1)} | {"--allow-missing"}
