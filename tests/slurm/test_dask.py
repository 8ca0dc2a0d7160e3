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
    images = ["--manifest", tiny_set.manifest]
    network = ["--checkpoint", random_checkpoint, "--device", "cpu"]
    cut = ["--set", "mpp=0.5", "--set", "patch_px=32", "--set", "overlap_px=0"]
    commands = {
        "patches": ["tile", *images, *cut],
        "segmented": ["segment", *images, *network],
    }
    (tmp_path / "local").mkdir()
    (tmp_path / "cluster").mkdir()
    on_slurm = ["--cluster", "slurm", "--cluster-config", _cluster_config(tmp_path)]
    for out, command in commands.items():
        monkeypatch.chdir(tmp_path / "local")
        _run([*command, "--out", out])
        logs = _logs(tmp_path)
        monkeypatch.chdir(tmp_path / "cluster")
        _run([*command, "--out", out, *on_slurm])
        assert _logs(tmp_path) > logs, f"{out}: no job of Slurm wrote a log"
        found, expected = (_contents(tmp_path / where / out) for where in ("cluster", "local"))
        assert found == expected, out


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
