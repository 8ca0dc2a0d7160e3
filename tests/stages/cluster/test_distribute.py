"""Stages on Dask's workers: the bytes of a local run, whatever dies and whatever is broken."""

import gc
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support import ROOT, dying_workers

from nucleipel.cli import cli
from nucleipel.config import ClusterConfig, PredictConfig, SegmentConfig, StitchConfig, TileConfig
from nucleipel.core.run_options import RunOptions
from nucleipel.core.shard import CLOSE
from nucleipel.data.synthetic import build_scene
from nucleipel.errors import ClusterError
from nucleipel.io.manifest import read_manifest
from nucleipel.io.slides.write_slide import write_slide
from nucleipel.stages.cluster.dask_workers import Cluster
from nucleipel.stages.cluster.distribute import distribute
from nucleipel.stages.pipeline.predict import predict, share_predict
from nucleipel.stages.pipeline.segment import segment, share_segment
from nucleipel.stages.pipeline.stitch import share_stitch, stitch
from nucleipel.stages.pipeline.tile import share_tile, tile

pytestmark = pytest.mark.slow

PREDICT = PredictConfig(device="cpu")
STITCH = StitchConfig(threads=1)
SEGMENT = SegmentConfig(device="cpu", threads=1, keep_predictions=True)
TILE = TileConfig(mpp=0.5, patch_px=32, overlap_px=8, shard_patches=8)
SECONDS = 300
"""After this long something hangs."""


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _environment(left: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "DASK_DISTRIBUTED__WORKER__PRELOAD": f'["{dying_workers.__file__}"]',
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
        dying_workers.ONCE: str(left),
    }


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that exists once a worker has died."""
    return tmp_path_factory.mktemp("left") / "died"


def _address(scheduler_file: Path) -> str:
    """The file that the scheduler writes; empty until it is there and whole."""
    try:
        return json.loads(scheduler_file.read_text())["address"]
    except (FileNotFoundError, json.JSONDecodeError):
        return ""


@pytest.fixture(scope="module")
def running(left: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with two workers, the nannies of which replace them."""
    folder = tmp_path_factory.mktemp("dask")
    message = folder / "scheduler.json"
    commands = (
        ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"],
        ["worker", "--nworkers", "2", "--nthreads", "1", "--no-dashboard", "--memory-limit", "0"],
    )
    started = []
    try:
        for command in commands:
            with (folder / f"{command[0]}.log").open("wb") as log:
                started.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "dask", *command, "--scheduler-file", message],
                        env=_environment(left), stdout=log, stderr=log, cwd=folder,
                    )
                )  # fmt: skip
            while not _address(message):
                assert started[0].poll() is None, (folder / "scheduler.log").read_text()
                time.sleep(0.05)
        yield _address(message)
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(SECONDS)


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_a_running_scheduler_gives_the_bytes_of_a_local_run(
    running: str, left: Path, random_checkpoint: Path, tiny_set, tmp_path: Path, monkeypatch
) -> None:
    """Paths are relative to where the command was called; a worker dies in the first image."""
    monkeypatch.chdir(tmp_path)
    rows = read_manifest(tiny_set.manifest)
    here, there, cluster = Path("here"), Path("there"), Cluster(scheduler=running)
    here.mkdir()
    there.mkdir()
    predict(random_checkpoint, rows, here / "maps.zarr", PREDICT)
    distribute(cluster, share_predict(random_checkpoint, rows, there / "maps.zarr", PREDICT))
    assert left.exists(), "nobody died"
    stitch(here / "maps.zarr", here / "instances", STITCH)
    distribute(cluster, share_stitch(there / "maps.zarr", there / "instances", STITCH))
    tile(tiny_set.manifest, here / "patches.zarr", TILE)
    distribute(cluster, share_tile(tiny_set.manifest, there / "patches.zarr", TILE))
    segment(random_checkpoint, rows, here / "segmented", SEGMENT)
    distribute(cluster, share_segment(random_checkpoint, rows, there / "segmented", SEGMENT))
    ours, theirs = _contents(there), _contents(here)
    assert list(ours) and {name for name in ours if ours[name] != theirs.get(name)} == set()
    assert ours.keys() == theirs.keys()


def test_a_single_image_or_shard_is_done_as_well(
    running: str, random_checkpoint: Path, tiny_set, tmp_path: Path
) -> None:
    one, cluster = read_manifest(tiny_set.manifest).of_split("val"), Cluster(scheduler=running)
    for where in ("here", "there"):
        (tmp_path / where).mkdir()
    predict(random_checkpoint, one, tmp_path / "here" / "maps.zarr", PREDICT)
    distribute(
        cluster, share_predict(random_checkpoint, one, tmp_path / "there" / "maps.zarr", PREDICT)
    )
    whole = TILE.model_copy(update={"shard_patches": 1000})
    tile(tiny_set.manifest, tmp_path / "here" / "patches.zarr", whole)
    distribute(cluster, share_tile(tiny_set.manifest, tmp_path / "there" / "patches.zarr", whole))
    assert _contents(tmp_path / "there") == _contents(tmp_path / "here")


@pytest.fixture
def poisoned(tiny_set, tmp_path: Path) -> Path:
    """The tiny set with a slide that cannot be read, and one that kills whoever opens it."""
    lines = tiny_set.manifest.read_text().splitlines()
    lines = [line if n == 0 else f"{tiny_set.folder}/{line}" for n, line in enumerate(lines)]
    lines = [line.replace(",", f",{tiny_set.folder}/", 1) if n else line
             for n, line in enumerate(lines)]  # fmt: skip
    for seed, name in enumerate(("broken", dying_workers.DEADLY), 7):
        write_slide(tmp_path / f"{name}.ome.tif", build_scene((64, 64), seed=seed).image, mpp=0.5)
        lines.append(f"{name}.ome.tif,,test,{name},0.5")
    broken = tmp_path / "broken.ome.tif"
    broken.write_bytes(broken.read_bytes()[:900])
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "manifest.csv"


def test_poison_is_set_aside_by_name(
    running: str, random_checkpoint: Path, poisoned: Path, tiny_set, tmp_path: Path
) -> None:
    maps = tmp_path / "maps.zarr"
    result = _run(
        "predict", "--checkpoint", random_checkpoint, "--manifest", poisoned, "--out", maps,
        "--device", "cpu", "--cluster", running,
    )  # fmt: skip
    assert result.exit_code == 1
    table = result.stderr[result.stderr.index("failed  ") :].splitlines()
    found = {line.split()[0]: line for line in table[1:-1]}
    assert found.keys() == {"broken", dying_workers.DEADLY}, result.stderr
    assert "broken.ome.tif: " in found["broken"]
    assert "killed its worker again and again" in found[dying_workers.DEADLY]
    assert table[-1].startswith(f"error: {maps}: 2 of 5 failed, the others are done: ")

    rows = read_manifest(poisoned, needed=())
    predict(
        random_checkpoint, rows, maps, PREDICT, options=RunOptions(shard=CLOSE, allow_missing=True)
    )
    assert json.loads((maps / "nucleipel.json").read_text())["missing"] == [
        "broken",
        dying_workers.DEADLY,
    ]
    predict(random_checkpoint, read_manifest(tiny_set.manifest), tmp_path / "local.zarr", PREDICT)
    ours, theirs = _contents(maps), _contents(tmp_path / "local.zarr")
    names = [name for name in theirs if name.startswith(("train/", "val/", "test/"))]
    assert len(names) > 9
    assert {name: ours[name] for name in names} == {name: theirs[name] for name in names}


def test_processes_here_of_which_one_is_killed(
    random_checkpoint: Path, tiny_set, tmp_path: Path
) -> None:
    left, maps = tmp_path / "died", tmp_path / "maps.zarr"
    command = [
        sys.executable, "-m", "nucleipel", "predict", "--checkpoint", random_checkpoint,
        "--manifest", tiny_set.manifest, "--out", maps, "--device", "cpu", "--workers", "2",
    ]  # fmt: skip
    done = subprocess.run(
        command, env=_environment(left), capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert left.exists(), "nobody died"
    assert "Traceback" not in done.stderr
    predict(random_checkpoint, read_manifest(tiny_set.manifest), tmp_path / "local.zarr", PREDICT)
    assert _contents(maps) == _contents(tmp_path / "local.zarr")


def test_without_dask_the_message_says_what_to_install(
    random_checkpoint: Path, tiny_set, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    arguments = ["--checkpoint", random_checkpoint, "--out", tmp_path / "out", "--workers", 2]
    result = _run("predict", tiny_set.image("test"), *arguments, "--device", "cpu")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: --workers and --cluster need Dask (distributed is missing);"
        " pip install 'nucleipel[cluster]'\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", 2, "--shard", "1/2"], "--shard is for tasks that share the work without"),
        (["--workers", 2, "--cluster", "tcp://a:1"], "--workers is for processes here"),
        (["--workers", 0], "0 is not in the range"),
        (["--cluster", "slurm"], "--cluster slurm needs a --cluster-config"),
        (["--cluster", "slrum"], "--cluster slrum: expected tcp://host:port, or slurm, lsf"),
        (["--cluster-config", "c.yaml"], "--cluster-config goes with --cluster slurm"),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path, options: list[object], message: str
) -> None:
    result = _run("stitch", "--predictions", "maps.zarr", "--out", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_a_job_with_fewer_workers_than_cores_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("jobs: 2\noptions: {cores: 4, memory: 8GB}\n")
    result = _run(
        "stitch", "--predictions", "m.zarr", "--out", tmp_path / "out",
        "--cluster", "slurm", "--cluster-config", tmp_path / "c.yaml",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "options.cores 4, options.processes 1: a worker has one image at a time" in result.stderr


@pytest.mark.filterwarnings("ignore:unclosed cluster:ResourceWarning")
def test_an_unknown_option_of_a_batch_system_is_reported(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "sbatch").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    config = ClusterConfig(jobs=1, options={"memory": "1GB", "quue": "cpu"})
    with (
        pytest.raises(ClusterError, match=r"slurm: no workers can be had: .*quue"),
        Cluster(scheduler="slurm", config=config).open(),
    ):
        pytest.fail("it was opened")
    gc.collect()  # what Dask leaves half-made warns when it is collected


def test_no_batch_system_is_reported(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    config = ClusterConfig(jobs=1, options={"memory": "1GB"})
    with (
        pytest.raises(ClusterError, match="sbatch: no such command; run on a login node"),
        Cluster(scheduler="slurm", config=config).open(),
    ):
        pytest.fail("it was opened")


def test_no_scheduler_is_reported() -> None:
    import dask

    with socket.socket() as taken:  # nobody listens there
        taken.bind(("127.0.0.1", 0))
        address = "tcp://{}:{}".format(*taken.getsockname())
        message = rf"{address}: no workers can be had: "
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
            pytest.raises(ClusterError, match=message),
            Cluster(scheduler=address).open(),
        ):
            pytest.fail("it was opened")
