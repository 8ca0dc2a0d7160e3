"""Several processes predict parts of one slide: the bytes of one process, whoever stops or dies."""

import json
from pathlib import Path

import numpy as np
import pytest

from nucleipel.config import PredictConfig
from nucleipel.core.geometry import Box
from nucleipel.core.locks import PREFIX, Lock
from nucleipel.core.run_options import RunOptions
from nucleipel.core.shard import CLOSE, Part, Shard
from nucleipel.errors import StoreError
from nucleipel.io.manifest import Manifest, read_manifest
from nucleipel.io.stores import stored_map
from nucleipel.io.stores.predictions import open_predictions
from nucleipel.io.stores.stored_map import Glass, MapLayout
from nucleipel.io.stores.write_predictions import MapWriter
from nucleipel.stages.pipeline import predict as stage
from nucleipel.stages.pipeline import seen_slide
from nucleipel.stages.pipeline.predict import predict

pytestmark = pytest.mark.slow

CONFIG = PredictConfig(device="cpu")
PARTS = {"train": 4, "val": 2, "test": 2}
"""Of the tiny set, where every 8192 pixels may be a part."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_map, "PART_PX", 8192)


@pytest.fixture(scope="module")
def rows(tiny_set) -> Manifest:
    return read_manifest(tiny_set.manifest)


@pytest.fixture(scope="module")
def whole(
    random_checkpoint: Path, rows: Manifest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "maps.zarr"
    predict(random_checkpoint, rows, out, CONFIG)
    return _contents(out)


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _predict(checkpoint: Path, rows: Manifest, out: Path, shard: Shard) -> None:
    predict(checkpoint, rows, out, CONFIG, options=RunOptions(shard=shard))


@pytest.mark.parametrize("count", [2, 5])
def test_any_number_of_shards_gives_the_same_bytes(
    random_checkpoint: Path, rows: Manifest, whole: dict[str, bytes], tmp_path: Path, count: int
) -> None:
    out = tmp_path / "maps.zarr"
    for number in np.random.default_rng(count).permutation(count) + 1:
        _predict(random_checkpoint, rows, out, Shard(int(number), count))
    assert (out / "train" / "image.json").exists(), "who does the last part completes the image"
    _predict(random_checkpoint, rows, out, CLOSE)
    assert _contents(out) == whole


def test_an_image_that_nobody_completed_is_completed_at_the_end(
    random_checkpoint: Path, rows: Manifest, whole: dict[str, bytes], tmp_path: Path, monkeypatch
) -> None:
    """As if those who wrote the last shards had not seen each other's, on a slow file system."""
    out = tmp_path / "maps.zarr"
    with monkeypatch.context() as patched:
        patched.setattr(MapWriter, "finish", lambda *_: None)
        for number in (1, 2):
            _predict(random_checkpoint, rows, out, Shard(number, 2))
    assert not list(out.glob("*/image.json"))
    _predict(random_checkpoint, rows, out, CLOSE)
    assert _contents(out) == whole


def test_a_part_that_is_missing_is_reported(
    random_checkpoint: Path, rows: Manifest, tmp_path: Path
) -> None:
    out = tmp_path / "maps.zarr"
    _predict(random_checkpoint, rows, out, Shard(1, 2))
    with pytest.raises(StoreError, match="3 of 3 images are missing: train, val, test"):
        _predict(random_checkpoint, rows, out, CLOSE)


def test_no_shard_is_written_twice(
    random_checkpoint: Path, rows: Manifest, whole: dict[str, bytes], tmp_path: Path, monkeypatch
) -> None:
    out, real, made = tmp_path / "maps.zarr", seen_slide.predict_parts, []

    def interrupted(*arguments, **named):
        for part in real(*arguments, **named):
            made.append(part[0])
            yield part
            if len(made) == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(seen_slide, "predict_parts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _predict(random_checkpoint, rows, out, Shard(2, 3))
    for number in (1, 2, 3):
        _predict(random_checkpoint, rows, out, Shard(number, 3))
    _predict(random_checkpoint, rows, out, CLOSE)
    assert _contents(out) == whole
    assert len(made) == sum(name.count("/map/c/") for name in whole)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_slide_is_measured_by_one_process(
    random_checkpoint: Path, rows: Manifest, whole: dict[str, bytes], tmp_path: Path, monkeypatch,
    damaged: bool,
) -> None:  # fmt: skip
    out, real, measured = tmp_path / "maps.zarr", stage.see, []

    def see(model, slide, *arguments, **named):
        measured.append(slide.path.name.split(".")[0])
        return real(model, slide, *arguments, **named)

    monkeypatch.setattr(stage, "see", see)
    _predict(random_checkpoint, rows, out, Shard(1, 2))
    if damaged:
        (out / "train" / stage.KEPT).write_bytes((out / "val" / stage.KEPT).read_bytes()[:-40])
    _predict(random_checkpoint, rows, out, Shard(2, 2))
    assert sorted(measured) == sorted([*PARTS, *(["train"] if damaged else [])])
    _predict(random_checkpoint, rows, out, CLOSE)
    assert _contents(out) == whole


def _died(out: Path, name: str, deaths: int) -> None:
    """Leave what a process that was killed leaves."""
    lock = Lock(out / f"{PREFIX}-{name}")
    content = json.loads(lock.path.read_bytes())
    lock.release()
    (out / f"{PREFIX}-{name}").write_text(json.dumps({**content, "deaths": deaths - 1}))


def test_a_shard_that_kills_is_set_aside_by_name_after_the_others(
    random_checkpoint: Path, rows: Manifest, whole: dict[str, bytes], tmp_path: Path, monkeypatch
) -> None:
    out, real, tried = tmp_path / "maps.zarr", seen_slide.predict_parts, []

    def deadly(network, slide, parts, **named):
        tried.extend((slide.path.name, part) for part in parts)
        yield from real(network, slide, parts, **named)

    monkeypatch.setattr(seen_slide, "predict_parts", deadly)
    _predict(random_checkpoint, rows, out, Shard(2, 2))
    tried.clear()
    # twice it died of what it was at in the part, the second time of the shard alone
    _died(out, "image-train-1-of-4", 2)
    _died(out, "shard-train-at-0-0", 1)
    message = (
        r"train, pixels 0:64, 0:64: killed its process 2 times in a row: out of memory, mostly"
    )
    with pytest.raises(StoreError, match=message):
        _predict(random_checkpoint, rows, out, Shard(1, 2))
    assert ("train.ome.tif", Box(0, 0, 64, 64)) not in tried
    writer = MapWriter(out, "train", MapLayout((160, 224), 4, 16))
    others = [shard for part in (1, 3) for shard in writer.shards_of(Part("train", part, 4))][1:]
    assert {shard for name, shard in tried if name == "train.ome.tif"} == set(others)
    with pytest.raises(StoreError, match="1 of 3 images are missing: train"):
        _predict(random_checkpoint, rows, out, CLOSE)
    tried.clear()
    _predict(random_checkpoint, rows, out, Shard(1, 2))  # another go tries it again
    assert tried == [("train.ome.tif", Box(0, 0, 64, 64))]
    _predict(random_checkpoint, rows, out, CLOSE)
    assert _contents(out) == whole


def test_parts_that_kill_before_any_shard_are_set_aside(
    random_checkpoint: Path, rows: Manifest, tmp_path: Path
) -> None:
    out = tmp_path / "maps.zarr"
    _predict(random_checkpoint, rows, out, Shard(2, 2))
    _died(out, "image-val-1-of-2", 3)
    with pytest.raises(StoreError, match="val: killed its process 3 times in a row"):
        _predict(random_checkpoint, rows, out, Shard(1, 2))


def test_a_run_that_nobody_shares_is_continued_however_often_it_is_killed(
    random_checkpoint: Path, rows: Manifest, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "maps.zarr"
    _predict(random_checkpoint, rows, out, Shard(2, 2))
    _died(out, "image-train-1-of-4", 9)
    predict(random_checkpoint, rows, out, CONFIG)
    assert _contents(out) == whole


# --- how a map is cut ----------------------------------------------------------------


def test_parts_share_the_shards_by_their_tissue(tmp_path: Path) -> None:
    layout = MapLayout((640, 1280), 4, 16)
    tissue = Box(130, 300, 420, 700)
    skipped = [
        core
        for shard in layout.shards()
        for core in layout.cores_of(shard)
        if core.y1 <= tissue.y0 or core.y0 >= tissue.y1
        or core.x1 <= tissue.x0 or core.x0 >= tissue.x1
    ]  # fmt: skip
    writer = MapWriter(tmp_path, "slide", layout, skipped=skipped)
    shares = [writer.shards_of(Part("slide", number, 4)) for number in range(1, 5)]
    assert [shard for share in shares for shard in share] == writer.shards
    cores = [
        sum(core not in skipped for shard in share for core in layout.cores_of(shard))
        for share in shares
    ]
    assert sum(cores) == 19 * 26
    assert max(cores) - min(cores) <= 32, "no more than two shards"


def test_glass_is_noted_core_by_core() -> None:
    layout = MapLayout((100, 70), 4, 16)
    cores = [core for shard in layout.shards() for core in layout.cores_of(shard)]
    glass = Glass.of_boxes(layout, cores[1::3])
    again = Glass.of_text(glass.to_text(), layout)
    assert [again.covers(core) for core in cores] == [core in cores[1::3] for core in cores]
    assert not again.covers(Box(0, 0, 17, 17))
    whole = Box.of_shape(layout.shape)
    assert sorted(glass.boxes_in(whole), key=repr) == sorted(cores[1::3], key=repr)
    assert Glass.of_boxes(layout, []).to_text() == ""
    assert Glass.of_boxes(layout, cores).covers(whole)


def test_shards_of_glass_are_read_and_not_stored(
    random_checkpoint: Path, tiny_set, tmp_path: Path, monkeypatch
) -> None:
    from nucleipel.core.glass_cores import Tissue

    mask = np.zeros((160, 224), bool)
    mask[140:, 200:] = True
    monkeypatch.setattr(stage, "tissue_of", lambda *_, **__: Tissue(mask, 1, {"mask": "drawn"}))
    monkeypatch.setattr("nucleipel.core.glass_cores.LARGEST_NUCLEUS_PX", 1)
    rows = read_manifest(tiny_set.manifest).of_split("train")
    predict(random_checkpoint, rows, tmp_path / "maps.zarr", CONFIG)
    prediction = open_predictions(tmp_path / "maps.zarr").images[0]
    stored = prediction.open_map()
    assert prediction.shards < 12
    assert stored.is_background(Box(0, 0, 64, 64))
    assert not stored.is_background(Box(140, 200, 160, 224))
    values = prediction.read_map()
    glass = np.zeros((160, 224), bool)
    for box in prediction.glass.boxes_in(Box(0, 0, 160, 224)):
        glass[box.slices] = True
    assert (values[:, glass] == np.array([[255], [0], [0], [0]])).all()
    assert (values[0, ~glass] < 255).any()
    for box in (Box(3, 5, 20, 60), Box(50, 100, 160, 224), Box(100, 0, 101, 224)):
        part = stored[(slice(None), *box.slices)]
        assert (part == values[(slice(None), *box.slices)]).all()
        assert (stored[(slice(1, 3), *box.slices)] == part[1:3]).all()
