"""Damage is named, and the same command repairs it; flipped bits are in tests/scripts."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nucleipel.config import PredictConfig, StitchConfig, TileConfig, TrainConfig
from nucleipel.config.pipeline.train import NetworkConfig
from nucleipel.errors import StoreError
from nucleipel.io.manifest import read_manifest
from nucleipel.io.records.verify_hashes import inspect_output
from nucleipel.stages.files.verify import verify
from nucleipel.stages.pipeline.predict import predict
from nucleipel.stages.pipeline.stitch import stitch
from nucleipel.stages.pipeline.tile import tile
from nucleipel.stages.pipeline.train import train

KINDS = ("train", "patches.zarr", "maps.zarr", "instances")


class Stages:
    """The commands that make each kind of output in a folder."""

    def __init__(self, tiny_set, folder: Path) -> None:
        self.manifest, self.folder = tiny_set.manifest, folder

    def make(self, kind: str) -> None:
        out = self.folder / kind
        if kind == "train":
            config = TrainConfig(
                device="cpu", workers=0, mpp=0.5, window_px=32, core_px=16,
                windows_per_epoch=4, epochs=2, batch_size=2, warmup_steps=1,
                network=NetworkConfig(features=(16, 24), residual_units=1),
            )  # fmt: skip
            train(self.manifest, out, config)
        elif kind == "patches.zarr":
            config = TileConfig(patch_px=32, overlap_px=8, mpp=0.5, shard_patches=8)
            tile(self.manifest, out, config)
        elif kind == "maps.zarr":
            rows = read_manifest(self.manifest)
            predict(self.folder / "train", rows, out, PredictConfig(device="cpu"))
        else:
            stitch(self.folder / "maps.zarr", out, StitchConfig(threads=1))


@pytest.fixture(scope="module")
def stages(tiny_set, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    torch.manual_seed(0)
    made = Stages(tiny_set, tmp_path_factory.mktemp("whole"))
    for kind in KINDS:
        made.make(kind)
    return made


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(("events.out", "state"))
    }


def test_whole_outputs_are_whole(stages: Stages) -> None:
    findings = {found.folder.name: found for found in verify(stages.folder)}
    assert set(findings) == set(KINDS)
    for kind, found in findings.items():
        assert found.complete
        assert not found.broken
        assert not found.unlisted
        assert "config.yaml" in found.good, kind
    assert "checkpoint.safetensors" in findings["train"].good
    assert "images/c/0/0/0/0" in findings["patches.zarr"].good
    assert "val/map/c/0/0/0" in findings["maps.zarr"].good
    assert "test/nuclei.parquet" in findings["instances"].good


def test_the_list_is_one_that_sha256sum_reads(stages: Stages) -> None:
    import subprocess

    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum here")
    for kind in KINDS:
        command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
        subprocess.run(command, cwd=stages.folder / kind, check=True)


def _damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")


@pytest.mark.parametrize("harm", [_damage, Path.unlink], ids=["altered", "missing"])
@pytest.mark.parametrize(
    ("kind", "names", "kept"),
    [
        ("train", ["checkpoint.safetensors", "metrics.csv"], "checkpoint.json"),
        ("train", ["checkpoint.json", "config.yaml"], "checkpoint.safetensors"),
        ("patches.zarr", ["images/c/1/0/0/0", "patches.csv"], "images/c/0/0/0/0"),
        ("patches.zarr", ["instance_maps/zarr.json", "zarr.json"], "images/c/0/0/0/0"),
        ("maps.zarr", ["test/map/c/0/0/1", "val/image.json"], "test/map/c/0/0/0"),
        ("maps.zarr", ["test/map/zarr.json", "val/thumbnail/c/0/0/0"], "test/map/c/0/0/0"),
        ("instances", ["test/nuclei.parquet"], "val/nuclei.parquet"),
        ("instances", ["nucleipel.json"], "val/nuclei.parquet"),
        ("instances", ["SHA256SUMS"], "val/nuclei.parquet"),
    ],
)
def test_repair_makes_only_what_was_broken(
    stages: Stages,
    tiny_set,
    kind: str,
    names: list[str],
    kept: str,
    harm: Callable[[Path], None],
    tmp_path: Path,
) -> None:
    here = Stages(tiny_set, tmp_path)
    for each in KINDS:
        shutil.copytree(stages.folder / each, tmp_path / each)
    out = tmp_path / kind
    was = _contents(out)
    for name in names:
        harm(out / name)
    with pytest.raises(StoreError, match=rf"{len(names)} file\(s\) of 1 output\(s\) are broken"):
        verify(out)
    (found,) = verify(out, repair=True)
    assert set(found.broken) == set(names)
    left = (out / kept).stat().st_mtime_ns
    here.make(kind)
    assert (out / kept).stat().st_mtime_ns == left or kind == "train", "it was made again"
    assert _contents(out) == was
    assert not verify(out)[0].broken


def test_a_list_that_is_damaged_vouches_for_nothing_that_it_does_not_name(
    stages: Stages, tmp_path: Path
) -> None:
    out = tmp_path / "maps.zarr"
    shutil.copytree(stages.folder / "maps.zarr", out)
    lines = (out / "SHA256SUMS").read_text().splitlines(keepends=True)
    name = "val/map/c/0/0/0"
    (out / "SHA256SUMS").write_text("".join(line for line in lines if name not in line))
    # with the file as it was, the whole list can be found again
    assert set(inspect_output(out).broken) == {"SHA256SUMS"}
    _damage(out / name)
    assert set(inspect_output(out).broken) == {"SHA256SUMS", name}


def test_nothing_to_verify_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no output of nucleipel is there"):
        verify(tmp_path)
    for name in ("nucleipel.json", ".nucleipel.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(StoreError, match="cannot be read, nor can its copy; delete the folder"):
        verify(tmp_path)


def test_files_of_others_are_named_and_left(stages: Stages, tmp_path: Path, caplog) -> None:
    out = tmp_path / "instances"
    shutil.copytree(stages.folder / "instances", out)
    (out / "notes.txt").write_text("mine")
    (found,) = verify(out, repair=True)
    assert found.unlisted == ["notes.txt"]
    assert (out / "notes.txt").read_text() == "mine"
