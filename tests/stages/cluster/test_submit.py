"""The scripts of the chain: their dependencies, their requests, and their errors."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support import ROOT
from support.sparse_slide import write_image

from nucleipel.config import SubmitConfig, TileConfig, load_config
from nucleipel.core.stop_signals import REQUEUE
from nucleipel.errors import ConfigError, ImageError, ManifestError, SubmitError
from nucleipel.io.manifest import read_manifest
from nucleipel.io.records.output import read_record
from nucleipel.io.sbatch import most_array_tasks, stage_function
from nucleipel.stages.cluster.submit import build_jobs, submit
from nucleipel.stages.pipeline.tile import tile

PLAIN = ROOT / "scripts" / "slurm"
PROFILE = load_config(SubmitConfig, file=ROOT / "configs" / "stages" / "slurm.yaml")


def _waits(jobs) -> dict[str, object]:
    return {job.name: job.after for job in jobs}


def test_the_whole_chain_waits_in_order(tiny_set, tmp_path: Path) -> None:
    jobs = build_jobs(tiny_set.manifest, tmp_path / "out", PROFILE)
    assert _waits(jobs) == {
        "train": None,
        "tile": None,
        "finetune-patches": ("afterok", ("train", "tile")),
        "predict": ("afterok", ("finetune-patches",)),
        "stitch": ("afterany", ("predict",)),
        "evaluate": ("afterany", ("stitch",)),
    }
    for job in jobs:
        assert "#SBATCH --requeue\n" in job.script
        assert "#SBATCH --signal=B:USR1@120\n" in job.script
        assert ("#SBATCH --array=1-1%10\n" in job.script) == (job.name in ("predict", "stitch"))
        assert ("#SBATCH --gres=gpu:1\n" in job.script) == (
            job.name in ("train", "finetune-patches", "predict")
        )
        subprocess.run(["bash", "-n"], input=job.script, text=True, check=True)


@pytest.mark.parametrize(
    ("checkpoint", "finetune", "names", "model"),
    [
        (None, False, ["train", "predict", "stitch", "evaluate"], "out/train"),
        (
            Path("default"),
            True,
            ["tile", "finetune-patches", "predict", "stitch", "evaluate"],
            "out/finetune",
        ),
        (Path("default"), False, ["predict", "stitch", "evaluate"], "--checkpoint default"),
    ],
)
def test_stages_can_be_left_out(
    tiny_set, tmp_path: Path, checkpoint: Path | None, finetune: bool, names: list[str], model: str
) -> None:
    jobs = build_jobs(
        tiny_set.manifest, tmp_path / "out", PROFILE, checkpoint=checkpoint, finetune=finetune
    )
    assert [job.name for job in jobs] == names
    script = next(job.script for job in jobs if job.name == "predict")
    assert model in script
    for job in jobs:
        assert job.after is None or set(job.after[1]) <= set(names)


def test_the_shards_of_patches_are_shared_out_and_closed(tiny_set, tmp_path: Path) -> None:
    settings = {"stages": {"tile": {"set": ["patch_px=32", "overlap_px=0", "shard_patches=4"]}}}
    store = tmp_path / "alone.zarr"
    config = load_config(TileConfig, assignments=settings["stages"]["tile"]["set"])
    tile(tiny_set.manifest, store, config)
    shards = read_record(store, stage="tile")["shards"]
    assert shards > 2

    for most, tasks in ((None, shards), (2, 2)):
        profile = SubmitConfig.model_validate({**settings, "shards": most})
        jobs = build_jobs(tiny_set.manifest, tmp_path / "out", profile)
        waits, scripts = _waits(jobs), {job.name: job.script for job in jobs}
        assert list(waits)[:4] == ["train", "tile", "tile-close", "finetune-patches"]
        assert waits["tile-close"] == ("afterany", ("tile",))
        assert waits["finetune-patches"] == ("afterok", ("train", "tile-close"))
        assert f"#SBATCH --array=1-{tasks}\n" in scripts["tile"]
        assert f'--shard "$SLURM_ARRAY_TASK_ID/{tasks}" || exit\n' in scripts["tile"]
        assert "--array" not in scripts["tile-close"]
        assert "--shard" not in scripts["tile-close"]


def _tasks(jobs) -> dict[str, int]:
    found = {job.name: re.search(r"--array=1-(\d+)", job.script) for job in jobs}
    return {name: int(match[1]) for name, match in found.items() if match}


@pytest.fixture
def large_slide(tiny_set, tmp_path: Path) -> Path:
    """The manifest of a small image and of a slide of 9,000 x 9,000 px."""
    write_image(tmp_path / "large.zarr", 9000, np.uint8, fill=240, channels=3)
    lines = f"{tiny_set.image('test')},,test,a,0.5\nlarge.zarr,,test,b,0.5\n"
    (tmp_path / "manifest.csv").write_text(f"image,label,split,source_id,mpp\n{lines}")
    return tmp_path / "manifest.csv"


@pytest.mark.parametrize(
    ("settings", "most_tasks", "tasks"),
    [
        ({}, None, (1 + 4, 1 + 9)),
        ({"shards": 3}, None, (3, 3)),
        ({}, 6, (5, 6)),
        ({"stages": {"predict": {"set": ["at_mpp=1"]}}}, None, (1 + 1, 1 + 1)),
        ({"stages": {"stitch": {"set": ["max_ram_gb=0.4"]}}}, None, (1 + 4, 1 + 36)),
    ],
)
def test_a_large_slide_is_shared_out_in_parts(
    large_slide: Path, tmp_path: Path, settings, most_tasks, tasks: tuple[int, int]
) -> None:
    profile = SubmitConfig.model_validate(settings)
    jobs = build_jobs(
        large_slide, tmp_path / "out", profile,
        checkpoint=Path("default"), finetune=False, most_tasks=most_tasks,
    )  # fmt: skip
    assert _tasks(jobs) == dict(zip(("predict", "stitch"), tasks, strict=True))


def test_the_parts_follow_the_settings_of_a_network_that_is_to_be_trained(
    tiny_set, large_slide: Path, tmp_path: Path
) -> None:
    learned = "".join(
        f"{tiny_set.image(split)},{tiny_set.folder}/{split}_label.tif,{split},{split},0.5\n"
        for split in ("train", "val")
    )
    large_slide.write_text(large_slide.read_text() + learned)
    for setting, count in (("mpp=0.5", 5), ("mpp=1", 2), ("whole_images=true", 2)):
        profile = SubmitConfig.model_validate({"stages": {"train": {"set": [setting]}}})
        if setting == "whole_images=true":
            profile = SubmitConfig.model_validate(
                {"stages": {"train": {"set": [setting, "augment.scale_range=[1,1]"]}}}
            )
        jobs = build_jobs(large_slide, tmp_path / "out", profile, finetune=False)
        assert _tasks(jobs)["predict"] == count, setting


def test_the_limit_of_arrays_is_that_of_slurm(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program = tmp_path / "scontrol"
    for shown, limit in (("MaxArraySize            = 1001", 1000), ("nothing of it", None)):
        program.write_text(f"#!/bin/bash\necho '{shown}'\n")
        program.chmod(0o755)
        assert most_array_tasks() == limit
    monkeypatch.setenv("PATH", "")
    assert most_array_tasks() is None


def test_an_image_that_cannot_be_tiled_is_reported_before_the_jobs(
    tiny_set, tmp_path: Path
) -> None:
    shutil.copytree(tiny_set.manifest.parent, tmp_path / "set")
    manifest = tmp_path / "set" / tiny_set.manifest.name
    image = read_manifest(manifest).of_split("train").rows[0].image
    image.write_bytes(image.read_bytes()[:60])
    with pytest.raises(ManifestError, match=re.escape(str(image))):
        build_jobs(manifest, tmp_path / "out", PROFILE)
    shutil.copy(tiny_set.image("train"), image)
    wrong = {"stages": {"tile": {"set": ["mpp=0.1"]}}}
    with pytest.raises(ImageError, match=re.escape(str(image))):
        build_jobs(manifest, tmp_path / "out", SubmitConfig.model_validate(wrong))


def test_settings_reach_their_stage(tiny_set, tmp_path: Path) -> None:
    profile = SubmitConfig.model_validate(
        {
            "setup": ["module load python"],
            "command": "python -m nucleipel",
            "default": {"partition": "cpu", "sbatch": ["--account=a"]},
            "stages": {"stitch": {"partition": "big", "set": ["threads=7"], "sbatch": ["--qos=b"]}},
        }
    )
    jobs = {
        job.name: job.script
        for job in build_jobs(tiny_set.manifest, tmp_path / "out", profile, split="val")
    }
    stitch = jobs["stitch"]
    for line in ("--partition=big", "--account=a", "--qos=b"):
        assert f"#SBATCH {line}\n" in stitch
    assert "\nmodule load python\nstage python -m nucleipel stitch " in stitch
    assert '--set threads=7 --shard "$SLURM_ARRAY_TASK_ID/1" || exit\n' in stitch
    assert "#SBATCH --partition=cpu\n" in jobs["predict"]
    assert "--split val" in jobs["predict"]
    assert re.search(r"predict .* --shard close --allow-missing \|\| exit\n", jobs["evaluate"])


def test_faults_are_reported_before_anything_is_submitted(tiny_set, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no row has split 'spare'"):
        build_jobs(tiny_set.manifest, tmp_path, PROFILE, split="spare")
    (tmp_path / "profile.yaml").write_text("stages:\n  predict:\n    partiton: gpu\n")
    with pytest.raises(ConfigError, match=r"partiton.*did you mean.*partition"):
        load_config(SubmitConfig, file=tmp_path / "profile.yaml")
    (tmp_path / "profile.yaml").write_text("default:\n  set: [threads=1]\n")
    with pytest.raises(ConfigError, match="settings belong to one stage each"):
        load_config(SubmitConfig, file=tmp_path / "profile.yaml")


def test_no_slurm_is_reported(tiny_set, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    jobs = build_jobs(tiny_set.manifest, tmp_path / "out", PROFILE)
    with pytest.raises(SubmitError, match="sbatch: no such command; submit from a login node"):
        submit(jobs, tmp_path / "out")


def test_the_function_knows_the_code_of_a_run_to_be_requeued() -> None:
    assert f"{REQUEUE} | 138) goes=$RESTARTS" in stage_function()


def test_plain_scripts_are_bash() -> None:
    for script in PLAIN.iterdir():
        subprocess.run(["bash", "-n", str(script)], check=True)
    assert len(list(PLAIN.glob("*.sbatch"))) == 6


@pytest.mark.parametrize("by", ["STAGE_SH", "SLURM_SUBMIT_DIR"])
@pytest.mark.parametrize("name", [script.name for script in sorted(PLAIN.glob("*.sbatch"))])
def test_a_plain_script_finds_the_function_from_where_slurm_copies_it(
    name: str, by: str, tmp_path: Path
) -> None:
    copied = shutil.copy(PLAIN / name, tmp_path / "slurm_script")
    program = tmp_path / "nucleipel"
    program.write_text('#!/bin/bash\necho "$@"\n')
    program.chmod(0o755)
    place = {"STAGE_SH": PLAIN / "stage.sh", "SLURM_SUBMIT_DIR": ROOT}[by]
    variables = {"MANIFEST": "m.csv", "SPLIT": "test", "TASKS": "3", "OUT": "out"}
    ended = subprocess.run(
        ["bash", copied],
        env={**variables, "PATH": f"{tmp_path}:/usr/bin:/bin", by: str(place)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    stage = name.removesuffix(".sbatch")
    assert ended.stdout.splitlines()[-1].split()[0] == stage
    assert not ended.stderr


def test_a_plain_script_without_the_function_runs_nothing(tmp_path: Path) -> None:
    ended = subprocess.run(
        ["bash", PLAIN / "train.sbatch"],
        env={"PATH": os.environ["PATH"], "SLURM_SUBMIT_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert f"{tmp_path}/scripts/slurm/stage.sh" in line


def test_a_warning_between_two_commands_reaches_the_next() -> None:
    commands = "stage true; kill -USR1 $$; stage sleep 600; exit $?"
    script = f"RESTARTS=0\nRETRIES=0\n{stage_function()}\n{commands}"
    ended = subprocess.run(["bash", "-c", script], timeout=600, capture_output=True, check=False)
    assert ended.returncode == 128 + signal.SIGUSR1
