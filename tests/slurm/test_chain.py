"""The submitted chain on a real Slurm ends like a local run, whatever happens to its jobs."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from support import ROOT, dying_workers
from support.slurm_jobs import wait_for_end
from support.small_parts import share_small_slides
from support.two_islands import (
    DEADLY_SHARD,
    NAMED,
    POISON,
    files_of,
    write_network,
    write_two_slides,
)

from nucleipel.cli import cli
from nucleipel.config import (
    FinetunePatchesConfig,
    PredictConfig,
    StitchConfig,
    TileConfig,
    load_config,
)
from nucleipel.data.synthetic import build_scene
from nucleipel.io.manifest import read_manifest
from nucleipel.io.slides.write_slide import write_annotation, write_slide
from nucleipel.stages.pipeline.finetune_patches import finetune_patches
from nucleipel.stages.pipeline.predict import predict
from nucleipel.stages.pipeline.stitch import stitch
from nucleipel.stages.pipeline.tile import tile

IDS = ("a", "b", "c", "d", "e", "f")
BAD = "e"
LEARNED = {"t": "train", "u": "train", "v": "val"}
TILE = ["mpp=0.5", "patch_px=32", "overlap_px=0", "shard_patches=8"]
FINETUNE = ["epochs=1", "patches_per_epoch=8", "batch_size=4", "workers=0", "device=cpu"]
SECONDS = 900
"""After this long something hangs."""


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of six tiny slides, and of three to learn from."""
    folder = tmp_path_factory.mktemp("six")
    lines = ["image,label,split,source_id,mpp"]
    for seed, name in enumerate((*IDS, *LEARNED)):
        scene = build_scene((80, 96 + 16 * seed), seed=seed, glass=False)
        write_slide(folder / f"{name}.ome.tif", scene.image, mpp=0.5)
        write_annotation(folder / f"{name}_label.tif", scene.instance_map)
        split = LEARNED.get(name, "test")
        lines.append(f"{name}.ome.tif,{name}_label.tif,{split},source-{name},0.5")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _submit(*arguments: object) -> None:
    result = CliRunner().invoke(cli, ["submit", *map(str, arguments)])
    assert result.exit_code == 0, result.output


def test_five_right_results_and_the_sixth_named(
    slurm: Callable[..., str], random_checkpoint: Path, six: Path, tmp_path: Path
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    rows = read_manifest(six).of_split("test")
    tile(six, local / "patches.zarr", load_config(TileConfig, assignments=TILE))
    settings = load_config(FinetunePatchesConfig, assignments=FINETUNE)
    tuned = finetune_patches(random_checkpoint, local / "patches.zarr", local / "tuned", settings)
    predict(tuned, rows, local / "maps.zarr", PredictConfig(device="cpu"))
    stitch(local / "maps.zarr", local / "instances", StitchConfig(threads=1))

    shutil.copytree(six.parent, tmp_path / "slides")
    bad = tmp_path / "slides" / f"{BAD}.ome.tif"
    bad.write_bytes(bad.read_bytes()[:900])
    out = tmp_path / "out"
    profile = tmp_path / "profile.yaml"
    profile.write_text(
        yaml.safe_dump(
            {
                "command": f"{sys.executable} -m nucleipel",
                "setup": [
                    f"export PYTHONPATH={ROOT} OMP_NUM_THREADS=1",
                    'at="$SLURM_JOB_NAME-${SLURM_ARRAY_TASK_ID:-}-${SLURM_RESTART_COUNT:-0}"',
                    # a task is warned in its first go, as before its time limit; another is killed
                    '[ "$at" = nucleipel-predict-1-0 ] && (sleep 2; kill -USR1 $$) &',
                    '[ "$at" = nucleipel-predict-2-0 ] && (sleep 2; pkill -9 -P $$ python) &',
                    '[ "$at" = nucleipel-tile-2-0 ] && (sleep 1; pkill -9 -P $$ python) &',
                ],
                "shards": 2,
                "default": {"time": "00:10:00", "cpus": 1},
                "stages": {
                    "tile": {"set": TILE},
                    "finetune-patches": {"set": FINETUNE},
                    "predict": {"set": ["device=cpu"]},
                    "stitch": {"set": ["threads=1"]},
                },
            }
        )
    )
    _submit(
        "--profile", profile, "--manifest", tmp_path / "slides" / "manifest.csv", "--out", out,
        "--checkpoint", random_checkpoint,
    )  # fmt: skip
    ids = json.loads((out / "jobs" / "jobs.json").read_text())
    chain = ["tile", "tile-close", "finetune-patches", "predict", "stitch", "evaluate"]
    assert list(ids) == chain
    shown = wait_for_end(slurm, ids["evaluate"], seconds=SECONDS)
    logs = "".join(path.read_text()[-1500:] for path in (out / "jobs").glob("*.log"))
    assert "JobState=COMPLETED" in shown, shown + logs

    report = json.loads((out / "report.json").read_text())
    assert report["images"] == 5
    assert report["comparison"]["missing"] == [BAD]
    for ours, theirs in (("predictions.zarr", "maps.zarr"), ("instances", "instances")):
        found, expected = _contents(out / ours), _contents(local / theirs)
        for name in set(IDS) - {BAD}:
            files = [
                file
                for file in expected
                # these name the inputs: another folder, and a manifest with another file
                if file.startswith(f"{name}/") and not file.endswith(("image.json", "report.html"))
            ]
            assert files
            assert {file: found[file] for file in files} == {f: expected[f] for f in files}
        assert json.loads(found["nucleipel.json"])["missing"] == [BAD]
    jobs = slurm("scontrol", "show", "job", ids["predict"])
    assert "Restarts=1" in jobs, jobs
    states = {line.split()[0] for line in jobs.splitlines() if "JobState=" in line}
    assert states == {"JobState=COMPLETED", "JobState=FAILED"}, jobs
    message = "".join(path.read_text() for path in (out / "jobs").glob("*predict-*.log"))
    assert f"{BAD}: set aside: {tmp_path}/slides/{BAD}.ome.tif" in message


def test_tasks_share_a_slide_of_which_one_dies_and_name_a_deadly_shard(
    slurm: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share_small_slides(monkeypatch.setattr)
    manifest, checkpoint = write_two_slides(tmp_path), write_network(tmp_path / "network")
    rows = read_manifest(manifest, needed=()).of_ids(["train"])
    predict(checkpoint, rows, tmp_path / "maps.zarr", PredictConfig(device="cpu"))
    stitch(tmp_path / "maps.zarr", tmp_path / "instances", StitchConfig(threads=1))

    left, out, profile = tmp_path / "died", tmp_path / "out", tmp_path / "profile.yaml"
    settings = {
        "command": f"{sys.executable} {dying_workers.__file__}",
        "setup": [
            f"export PYTHONPATH={ROOT}:{ROOT / 'tests'} OMP_NUM_THREADS=1 {dying_workers.SMALL}=1",
            f"export {dying_workers.ONCE}={left} {dying_workers.SHARD}={DEADLY_SHARD}",
        ],
        "shards": 2,
        "default": {"time": "00:10:00", "cpus": 1},
        "stages": {"predict": {"set": ["device=cpu"]}, "stitch": {"set": ["threads=1"]}},
    }
    profile.write_text(yaml.safe_dump(settings))
    _submit(
        "--profile", profile, "--no-finetune", "--manifest", manifest, "--out", out,
        "--checkpoint", checkpoint,
    )  # fmt: skip
    ids = json.loads((out / "jobs" / "jobs.json").read_text())
    assert list(ids) == ["predict", "stitch", "evaluate"]
    shown = wait_for_end(slurm, ids["evaluate"], seconds=SECONDS)
    logs = "".join(path.read_text() for path in sorted((out / "jobs").glob("*.log")))
    assert "JobState=COMPLETED" in shown, shown + logs[-6000:]
    assert left.exists(), "nobody died"
    assert NAMED in logs
    for ours, theirs in (("predictions.zarr", "maps.zarr"), ("instances", "instances")):
        assert json.loads((out / ours / "nucleipel.json").read_text())["missing"] == [POISON]
        expected = files_of(tmp_path / theirs, "train")
        assert len(expected) > 4
        assert files_of(out / ours, "train") == expected
    jobs = slurm("scontrol", "show", "job", ids["predict"])
    assert jobs.count("JobState=") == 2, "the slide was not shared out"
