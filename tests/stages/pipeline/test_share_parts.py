"""Several processes stitch one slide: the bytes of one process, in any order, at any time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import SECONDS

from nucleipel.config import PredictConfig, StitchConfig
from nucleipel.core.locks import PREFIX, Lock
from nucleipel.core.run_options import RunOptions
from nucleipel.core.shard import CLOSE, Shard
from nucleipel.errors import StoreError
from nucleipel.io.manifest import read_manifest
from nucleipel.stages.pipeline import stitch as stage
from nucleipel.stages.pipeline.predict import predict
from nucleipel.stages.pipeline.stitch import stitch

pytestmark = pytest.mark.slow

CONFIG = StitchConfig(threads=1, csv=True)
BLOCK_PX = 32
WORKER = f"""\
import sys
from pathlib import Path
from nucleipel.config import StitchConfig
from nucleipel.core.run_options import RunOptions
from nucleipel.core.shard import Shard
from nucleipel.stages.pipeline import stitch as stage

stage.SHARED_FROM_PX, stage.BLOCK_PX = 0, {BLOCK_PX}
maps, out, shard = sys.argv[1:]
config = StitchConfig(threads=1, csv=True)
stage.stitch(Path(maps), Path(out), config, options=RunOptions(shard=Shard.parse(shard)))
"""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "SHARED_FROM_PX", 0)
    monkeypatch.setattr(stage, "BLOCK_PX", BLOCK_PX)


@pytest.fixture(scope="module")
def maps(random_checkpoint: Path, tiny_set, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("maps") / "maps.zarr"
    predict(random_checkpoint, read_manifest(tiny_set.manifest), out, PredictConfig(device="cpu"))
    return out


@pytest.fixture(scope="module")
def whole(maps: Path) -> dict[str, bytes]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stage, "BLOCK_PX", BLOCK_PX)
        stitch(maps, maps.parent / "whole", CONFIG)
    return _contents(maps.parent / "whole")


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _stitch(maps: Path, out: Path, shard: Shard) -> None:
    stitch(maps, out, CONFIG, options=RunOptions(shard=shard))


def test_shards_one_after_another(maps: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "instances"
    for number in (2, 3, 1):
        assert not (out / "train").exists()
        _stitch(maps, out, Shard(number, 3))
    assert (out / "train").exists(), "whoever is last completes the image"
    _stitch(maps, out, CLOSE)
    assert _contents(out) == whole


def test_shards_at_the_same_time(maps: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "instances"
    command = [sys.executable, "-c", WORKER, maps, out]
    workers = [subprocess.Popen([*command, f"{number}/2"]) for number in (1, 2)]
    assert [worker.wait(SECONDS) for worker in workers] == [0, 0]
    _stitch(maps, out, CLOSE)
    assert _contents(out) == whole


def test_a_part_that_kills_is_set_aside_by_name(
    maps: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "instances"
    _stitch(maps, out, Shard(2, 2))
    lock = Lock(out / f"{PREFIX}-part-train-0-0")
    content = json.loads(lock.path.read_bytes())
    lock.release()
    (out / f"{PREFIX}-part-train-0-0").write_text(json.dumps({**content, "deaths": 1}))
    told = r"train-0, solving blocks, part 1 of 5: killed its process 2 times in a row"
    with pytest.raises(StoreError, match=told):
        _stitch(maps, out, Shard(1, 2))
    assert (out / "val").exists(), "the others are done"
    _stitch(maps, out, Shard(1, 2))  # another go tries it again
    _stitch(maps, out, CLOSE)
    assert _contents(out) == whole
