"""Tasks of an array share an output; a bad image stops no other; the last run completes it."""

import json
import os
import shutil
from pathlib import Path

import pytest
from support.processes import Process, command, predict_command

from nucleipel.config import EvaluateConfig, PredictConfig, StitchConfig, TileConfig
from nucleipel.core.locks import HeldError
from nucleipel.core.run_options import RunOptions
from nucleipel.core.shard import CLOSE, Shard
from nucleipel.errors import ImageError, OutputError, StoreError
from nucleipel.io.manifest import read_manifest
from nucleipel.io.stores.patches import open_patch_store
from nucleipel.stages.pipeline.evaluate import evaluate
from nucleipel.stages.pipeline.predict import predict
from nucleipel.stages.pipeline.stitch import stitch
from nucleipel.stages.pipeline.tile import tile

pytestmark = pytest.mark.slow

CONFIG = PredictConfig(device="cpu")
STITCH = StitchConfig(threads=1)


@pytest.fixture(scope="module")
def whole(random_checkpoint: Path, tiny_set, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    predict(random_checkpoint, read_manifest(tiny_set.manifest), folder / "maps.zarr", CONFIG)
    stitch(folder / "maps.zarr", folder / "instances", STITCH)
    return folder


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
def test_shards_in_any_order_give_the_same_bytes(
    random_checkpoint: Path, whole: Path, tiny_set, tmp_path: Path
) -> None:
    rows = read_manifest(tiny_set.manifest)
    maps, instances = tmp_path / "maps.zarr", tmp_path / "instances"
    for number in (3, 1, 4):
        shard = Shard(number, 4)
        predict(random_checkpoint, rows, maps, CONFIG, options=RunOptions(shard=shard))
        # before the maps are closed
        stitch(maps, instances, STITCH, options=RunOptions(shard=shard))
    with pytest.raises(StoreError, match=r"1 of 3 images are missing: val; run their shards"):
        predict(random_checkpoint, rows, maps, CONFIG, options=RunOptions(shard=CLOSE))
    with pytest.raises(StoreError, match="was not finished"):
        stitch(maps, instances, STITCH, options=RunOptions(shard=CLOSE))
    with pytest.raises(StoreError, match="image 'val' is not predicted; predict it first"):
        stitch(maps, instances, STITCH, options=RunOptions(shard=Shard(2, 4)))
    predict(random_checkpoint, rows, maps, CONFIG, options=RunOptions(shard=Shard(2, 4)))
    predict(random_checkpoint, rows, maps, CONFIG, options=RunOptions(shard=CLOSE))
    stitch(maps, instances, STITCH)  # the last run does what is left, and closes
    assert _contents(maps) == _contents(whole / "maps.zarr")
    assert _contents(instances) == _contents(whole / "instances")


def test_an_empty_shard_is_a_success_and_leaves_nothing(
    random_checkpoint: Path, tiny_set, tmp_path: Path
) -> None:
    rows, maps = read_manifest(tiny_set.manifest), tmp_path / "maps.zarr"
    predict(random_checkpoint, rows, maps, CONFIG, options=RunOptions(shard=Shard(4, 4)))
    assert not (tmp_path / "maps.zarr").exists()


@pytest.fixture
def with_a_bad_slide(tiny_set, tmp_path: Path) -> Path:
    shutil.copytree(tiny_set.folder, tmp_path / "set")
    path = tmp_path / "set" / "val.ome.tif"
    path.write_bytes(path.read_bytes()[:1000])
    return tmp_path / "set" / "manifest.csv"


def test_a_slide_that_cannot_be_read_costs_nobody_else(
    random_checkpoint: Path, whole: Path, with_a_bad_slide: Path, tiny_set, tmp_path: Path
) -> None:
    rows = read_manifest(with_a_bad_slide, needed=())
    maps, instances = tmp_path / "maps.zarr", tmp_path / "instances"
    with pytest.raises(ImageError, match=r"val\.ome\.tif"):
        predict(random_checkpoint, rows, maps, CONFIG, options=RunOptions(shard=Shard(2, 3)))
    for number in (1, 3):
        predict(random_checkpoint, rows, maps, CONFIG, options=RunOptions(shard=Shard(number, 3)))
    predict(
        random_checkpoint, rows, maps, CONFIG, options=RunOptions(shard=CLOSE, allow_missing=True)
    )
    stitch(maps, instances, STITCH)
    for store, name in ((maps, "maps.zarr"), (instances, "instances")):
        ours, theirs = _contents(store), _contents(whole / name)
        assert not [file for file in ours if file.startswith("val/")]
        for image in ("train", "test"):
            # these two name the files that they were made from, which lie in another folder here
            naming = (f"{image}/image.json", f"{image}/report.html")
            files = [name for name in theirs if name.startswith(f"{image}/")]
            files = [name for name in files if name not in naming]
            assert len(files) > 2
            assert {file: ours[file] for file in files} == {file: theirs[file] for file in files}
        assert json.loads((store / "nucleipel.json").read_text())["missing"] == ["val"]
    report = evaluate(
        with_a_bad_slide, instances, tmp_path / "report.json", EvaluateConfig(), allow_missing=True
    )
    assert report["images"] == 2
    assert report["comparison"]["missing"] == ["val"]


def test_a_whole_run_does_the_others_first_and_then_names_the_bad_one(
    random_checkpoint: Path, with_a_bad_slide: Path, tiny_set, tmp_path: Path, monkeypatch
) -> None:
    import nucleipel.stages.pipeline.predict as stage

    rows = read_manifest(tiny_set.manifest)
    maps, real = tmp_path / "maps.zarr", stage._Predictor.predict

    def bad(self, row, work) -> None:
        if row.id == "val":
            raise ImageError("val.ome.tif: tile 3 cannot be decoded")
        real(self, row, work)

    with monkeypatch.context() as patched:
        patched.setattr(stage._Predictor, "predict", bad)
        message = r"1 of 3 images failed, the others are done: val: val\.ome\.tif: tile 3"
        with pytest.raises(StoreError, match=message):
            predict(random_checkpoint, rows, maps, CONFIG)
        predict(random_checkpoint, rows, maps, CONFIG, options=RunOptions(allow_missing=True))
    left = {name: (maps / name / "image.json").stat().st_mtime_ns for name in ("train", "test")}
    # closed without one, it goes on when it is asked again
    predict(random_checkpoint, rows, maps, CONFIG)
    assert "missing" not in {
        k for k, v in json.loads((maps / "nucleipel.json").read_text()).items() if v
    }
    for name, when in left.items():
        assert (maps / name / "image.json").stat().st_mtime_ns == when, "it was made again"


def test_another_holder_is_named(
    random_checkpoint: Path, tiny_set, tmp_path: Path, monkeypatch
) -> None:
    rows, maps = read_manifest(tiny_set.manifest), tmp_path / "maps.zarr"
    import nucleipel.io.records.output as output

    class Held:
        def __init__(self, path: Path, **_: object) -> None:
            if path.name == held:
                raise HeldError("process 7 on node3, job 17_2")

        def release(self) -> None: ...

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(output, "Lock", Held)
    held = ".lock-2-of-3"
    with pytest.raises(OutputError, match="process 7 on node3, job 17_2 is at work on it"):
        predict(random_checkpoint, rows, maps, CONFIG, options=RunOptions(shard=Shard(2, 3)))
    held = ".lock-image-val"
    with pytest.raises(OutputError, match="is at work on image 'val'"):
        predict(random_checkpoint, rows, maps, CONFIG, options=RunOptions(shard=Shard(2, 3)))


@pytest.mark.slow
def test_two_processes_on_one_shard(
    random_checkpoint: Path, tiny_set, tmp_path: Path, monkeypatch
) -> None:
    """While the first works, a second one is refused and names it; another shard is not refused."""
    import nucleipel.stages.pipeline.predict as stage

    maps = tmp_path / "maps.zarr"
    rows, real, ended = read_manifest(tiny_set.manifest), stage._Predictor.predict, []

    def busy(*arguments, **named) -> None:
        for shard in ("1/3", "2/3"):
            words = predict_command(tiny_set.manifest, random_checkpoint, maps)
            process = Process(command, *words, "--set", "device=cpu", "--shard", shard)
            message = process.finish()
            ended.append((process.returncode, message))
        real(*arguments, **named)

    monkeypatch.setattr(stage._Predictor, "predict", busy)
    predict(random_checkpoint, rows, maps, CONFIG, options=RunOptions(shard=Shard(1, 3)))
    (refused, why), (done, message) = ended
    assert (refused, done) == (1, 0)
    assert f"process {os.getpid()} on " in why
    assert why.rstrip().endswith("is at work on it; wait for it, or stop it")
    assert "taken over" not in message


def test_tiling_by_shards_gives_the_same_bytes(tiny_set, tmp_path: Path) -> None:
    config = TileConfig(mpp=0.5, patch_px=32, overlap_px=8, shard_patches=16)
    whole, out = tmp_path / "whole.zarr", tmp_path / "patches.zarr"
    tile(tiny_set.manifest, whole, config)
    count = json.loads((whole / "nucleipel.json").read_text())["shards"]
    assert count > 3
    tile(tiny_set.manifest, out, config, options=RunOptions(shard=Shard(count + 1, count + 1)))
    assert not out.exists(), "an empty shard leaves nothing"
    for number in (3, 1):
        tile(tiny_set.manifest, out, config, options=RunOptions(shard=Shard(number, 3)))
    with pytest.raises(StoreError, match=rf"of {count} shards are missing; run their --shard"):
        tile(tiny_set.manifest, out, config, options=RunOptions(shard=CLOSE))
    with pytest.raises(StoreError, match="was not finished"):
        open_patch_store(out)
    made = {path: path.stat().st_mtime_ns for path in out.glob("*/c/**/0") if path.is_file()}
    assert made
    tile(tiny_set.manifest, out, config, options=RunOptions(shard=Shard(2, 3)))
    tile(tiny_set.manifest, out, config)  # without one, it closes too
    assert {path: path.stat().st_mtime_ns for path in made} == made, "made again"
    assert _contents(out) == _contents(whole)
