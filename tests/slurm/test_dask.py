"""Workers that dask-jobqueue gets from a real Slurm give the bytes of a local run."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from nucleipel.config import ClusterConfig, PredictConfig
from nucleipel.errors import ClusterError
from nucleipel.io.manifest import read_manifest
from nucleipel.stages.cluster import Cluster
from nucleipel.stages.predict import predict

ROOT = Path(__file__).parents[2]
SECONDS = 300


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_jobs_of_slurm_give_the_bytes_of_a_local_run(
    slurm: Callable[..., str], random_checkpoint: Path, tiny_set, tmp_path: Path
) -> None:
    rows = read_manifest(tiny_set.manifest)
    predict(random_checkpoint, rows, tmp_path / "local.zarr", PredictConfig(device="cpu"))
    config, logs = tmp_path / "cluster.yaml", tmp_path / "logs"
    options = {
        "queue": "cpu", "walltime": "00:10:00", "memory": "1GB", "interface": "lo",
        "job_directives_skip": ["--mem"],  # this Slurm counts cores only
        "local_directory": str(tmp_path), "log_directory": str(logs),
        "job_script_prologue": [f"export PYTHONPATH={ROOT} OMP_NUM_THREADS=1"],
    }  # fmt: skip
    config.write_text(yaml.safe_dump({"jobs": 2, "options": options}))
    command = [
        sys.executable, "-m", "nucleipel", "predict", "--checkpoint", random_checkpoint,
        "--manifest", tiny_set.manifest, "--out", tmp_path / "maps.zarr", "--device", "cpu",
        "--cluster", "slurm", "--cluster-config", config,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path
    )
    told = "".join(path.read_text() for path in logs.glob("*")) if logs.is_dir() else ""
    assert done.returncode == 0, done.stderr + told
    assert told, "no job of Slurm wrote a log"
    assert _contents(tmp_path / "maps.zarr") == _contents(tmp_path / "local.zarr")


def test_a_job_that_slurm_refuses_is_told(slurm: Callable[..., str], monkeypatch) -> None:
    monkeypatch.setattr("nucleipel.stages.cluster.SUBMIT_SECONDS", 3.0)
    config = ClusterConfig(jobs=1, options={"memory": "1GB", "queue": "nowhere"})
    with pytest.raises(ClusterError, match="slurm: no workers can be had: it took no job"):
        Cluster(scheduler="slurm", config=config).run(print, {})
