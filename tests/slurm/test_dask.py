"""Workers that dask-jobqueue starts on a real Slurm give the bytes of a local run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from support import ROOT

from nucleipel.cli import cli
from nucleipel.config import ClusterConfig
from nucleipel.errors import ClusterError
from nucleipel.stages.cluster.dask_workers import Cluster


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_jobs_of_slurm_give_the_bytes_of_a_local_run(
    slurm: Callable[..., str], random_checkpoint: Path, tiny_set, tmp_path: Path, monkeypatch
) -> None:
    command = ["segment", "--manifest", tiny_set.manifest, "--checkpoint", random_checkpoint]
    command += ["--device", "cpu", "--out", "out"]
    for where in ("local", "cluster"):
        (tmp_path / where).mkdir()
    monkeypatch.chdir(tmp_path / "local")
    _run(command)
    monkeypatch.chdir(tmp_path / "cluster")
    _run([*command, "--cluster", "slurm", "--cluster-config", _cluster_config(tmp_path)])
    assert _logs(tmp_path), "no job of Slurm wrote a log"
    found, expected = (_contents(tmp_path / where / "out") for where in ("cluster", "local"))
    assert found == expected


def _run(command: list[object]) -> None:
    result = CliRunner().invoke(cli, [str(word) for word in command])
    assert result.exit_code == 0, result.output


def _cluster_config(folder: Path) -> Path:
    options = {
        "queue": "cpu", "walltime": "00:10:00", "memory": "1GB", "interface": "lo",
        "job_directives_skip": ["--mem"],  # this Slurm counts cores only
        "local_directory": str(folder), "log_directory": str(folder / "logs"),
        "job_script_prologue": [f"export PYTHONPATH={ROOT} OMP_NUM_THREADS=1"],
    }  # fmt: skip
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump({"jobs": 2, "options": options}))
    return path


def _logs(folder: Path) -> int:
    return sum(1 for path in (folder / "logs").glob("*") if path.stat().st_size)


def test_a_job_that_slurm_refuses_is_reported(slurm: Callable[..., str], monkeypatch) -> None:
    monkeypatch.setattr("nucleipel.stages.cluster.dask_workers.SUBMIT_SECONDS", 3.0)
    config = ClusterConfig(jobs=1, options={"memory": "1GB", "queue": "nowhere"})
    with (
        pytest.raises(ClusterError, match="slurm: no workers can be had: it took no job"),
        Cluster(scheduler="slurm", config=config).open(),
    ):
        pass
