"""Patches are read as they were written, and damage never reads as zeros."""

import hashlib
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nucleipel.config import TileConfig
from nucleipel.core.atomic import read_sealed_json, write_sealed_json
from nucleipel.core.geometry import Box
from nucleipel.core.run_options import RunOptions
from nucleipel.core.shard import Shard
from nucleipel.data.augment import Augment
from nucleipel.data.patch_samples import TrainingPatches, ValidationPatches
from nucleipel.errors import StoreError
from nucleipel.io.csv_table import read_table, write_table
from nucleipel.io.records.checksums import digest_of
from nucleipel.io.slides.slide import open_slide, read_annotation
from nucleipel.io.stores.patches import open_patch_store
from nucleipel.stages.pipeline.tile import plan_tiles, tile

CONFIG = TileConfig(patch_px=64, overlap_px=16, mpp=0.5, shard_patches=4)


@pytest.fixture(scope="module")
def tiled(tiny_set, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tile(tiny_set.manifest, tmp_path_factory.mktemp("tiled") / "patches.zarr", CONFIG)


@pytest.fixture
def store_path(tiled: Path, tmp_path: Path) -> Path:
    """A store that a test may damage."""
    return shutil.copytree(tiled, tmp_path / "patches.zarr")


def test_nothing_of_the_source_is_lost(tiny_set, store_path: Path) -> None:
    store = open_patch_store(store_path)
    for split in ("train", "val"):
        with open_slide(tiny_set.image(split)) as slide:
            whole = slide.intensity_range().normalize(slide.read(Box.of_shape(slide.shape)))
        annotation = read_annotation(tiny_set.folder / f"{split}_label.tif")
        pixels, ids = np.full_like(whole, -1), np.full(annotation.shape, -1, np.int64)
        for row in store.of_split(split):
            patch, instance_map, counted = store.read(row)
            assert counted is None
            assert (row.image_id, row.source_id, row.mpp) == (split, f"source-{split}", 0.5)
            here = np.s_[row.y0_px : row.y0_px + 64, row.x0_px : row.x0_px + 64]
            pixels[here], ids[here] = patch, instance_map
        assert np.array_equal(pixels, whole)
        assert np.array_equal(ids, annotation)


def test_only_the_chosen_splits(store_path: Path) -> None:
    store = open_patch_store(store_path)
    assert {row.split for row in store.rows} == {"train", "val"}
    with pytest.raises(StoreError, match="holds no patch of split 'test'"):
        store.of_split("test")


def test_an_image_smaller_than_a_patch_is_mirrored(tiny_set, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"patch_px": 192})
    store = open_patch_store(tile(tiny_set.manifest, tmp_path / "p.zarr", config))
    (row,) = store.of_split("val")
    _, ids, _ = store.read(row)
    annotation = read_annotation(tiny_set.folder / "val_label.tif")
    assert np.array_equal(ids, np.pad(annotation, (0, 64), mode="reflect"))


def test_missing_shard_is_reported(store_path: Path) -> None:
    next(file for file in (store_path / "images" / "c").rglob("*") if file.is_file()).unlink()
    with pytest.raises(StoreError, match=r"images: has \d+ shards, its record says"):
        open_patch_store(store_path)


def test_flipped_bit_is_reported(store_path: Path) -> None:
    shard = next(file for file in (store_path / "images" / "c").rglob("*") if file.is_file())
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 4
    shard.write_bytes(content)
    store = open_patch_store(store_path)
    with pytest.raises(StoreError, match=r"patch \d+ cannot be read: .*; tile again"):
        for row in store.rows:
            store.read(row)


@pytest.fixture
def killed(tiny_set, tmp_path: Path, monkeypatch) -> Path:
    """What a run left that was killed before it wrote the table."""

    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "killed.zarr"
    with monkeypatch.context() as patched:
        patched.setattr("nucleipel.stages.pipeline.tile.write_rows", kill)
        with pytest.raises(KeyboardInterrupt):
            tile(tiny_set.manifest, out, CONFIG)
    return out


def test_unfinished_store_is_refused(tiny_set, killed: Path, store_path: Path) -> None:
    with pytest.raises(StoreError, match="was not finished; run the same nucleipel tile"):
        open_patch_store(killed)
    tile(tiny_set.manifest, killed, CONFIG)
    assert _contents(killed) == _contents(store_path)


def test_what_a_killed_run_left_of_a_shard_is_no_shard(
    tiny_set, killed: Path, store_path: Path
) -> None:
    # zarr writes a file beside its place, under a name of its own, and renames it
    left = killed / "images" / "c" / "0" / "0" / "0" / "0.67d3235.partial"
    left.write_bytes(b"half a shard")
    tile(tiny_set.manifest, killed, CONFIG)
    assert _contents(killed) == _contents(store_path)
    left.write_bytes(b"from before")
    assert len(open_patch_store(killed).rows) == len(open_patch_store(store_path).rows)


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


# --- of regions --------------------------------------------------------------------------------


@pytest.fixture
def regions(tiny_set, tmp_path: Path) -> Path:
    """The set with a region in `train`: a triangle, and a square smaller than a patch."""
    shapes = [[[8, 8], [136, 8], [8, 136], [8, 8]],
              [[180, 120], [200, 120], [200, 140], [180, 140], [180, 120]]]  # fmt: skip
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for ring in shapes
    ]
    text = json.dumps({"type": "FeatureCollection", "features": features})
    (tmp_path / "region.geojson").write_text(text)
    lines = tiny_set.manifest.read_text().splitlines()
    ends = [",region", f",{tmp_path / 'region.geojson'}", ",", ","]
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(line + end for line, end in zip(lines, ends, strict=True)))
    return path


def test_patches_lie_on_the_region_and_say_what_was_annotated(
    tiny_set, regions: Path, tmp_path: Path
) -> None:
    store = open_patch_store(tile(regions, tmp_path / "p.zarr", CONFIG, data_root=tiny_set.folder))
    planned = plan_tiles(regions, CONFIG, data_root=tiny_set.folder)
    assert planned.patches == len(store.rows), "what plan and submit count"
    inside = np.zeros((160, 224), bool)
    y, x = np.mgrid[:160, :224]
    inside[(y >= 8) & (x >= 8) & (y + x < 143)] = True
    inside[120:140, 180:200] = True
    seen = np.zeros_like(inside)
    annotation = read_annotation(tiny_set.folder / "train_label.tif")
    for row in store.of_split("train"):
        _, ids, counted = store.read(row)
        here = np.s_[row.y0_px : row.y0_px + 64, row.x0_px : row.x0_px + 64]
        counted = np.ones((64, 64), bool) if counted is None else counted
        assert np.mean(counted == inside[here]) > 0.98  # pixels on the slope may be in or out
        assert row.counted_px == counted.sum() > 0
        assert np.array_equal(ids, annotation[here])
        seen[here] |= counted
    assert seen.sum() == pytest.approx(inside.sum(), rel=0.02)
    for row in store.of_split("val"):
        assert row.counted_px == 64**2
        assert store.read(row)[2] is None


def test_samples_are_drawn_by_what_was_annotated(tiny_set, regions: Path, tmp_path: Path) -> None:
    store = open_patch_store(tile(regions, tmp_path / "p.zarr", CONFIG, data_root=tiny_set.folder))
    rows = store.of_split("train")
    still = Augment(rotate_degrees=0, intensity=0, stain=0)
    patches = TrainingPatches(store, rows, count=99, augment=still, boundary_px=2, seed=0)
    seen = Counter(patches._item(number) for number in range(len(rows) * 3000))
    total = sum(row.counted_px for row in rows)
    for place, row in enumerate(rows):
        assert seen[place] / seen.total() == pytest.approx(row.counted_px / total, abs=0.005)
        sample = ValidationPatches(store, rows, boundary_px=2)[place]
        assert sample.onehot.sum() == row.counted_px
    assert patches[0].onehot.sum() == rows[patches._item(0)].counted_px


def test_a_killed_run_goes_on_with_regions(
    tiny_set, regions: Path, tmp_path: Path, monkeypatch
) -> None:
    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def cut(out: Path, **more: object) -> Path:
        return tile(regions, out, CONFIG, data_root=tiny_set.folder, **more)

    for stopped in ("write_rows", "describe_intensity"):
        with monkeypatch.context() as patched:
            patched.setattr(f"nucleipel.stages.pipeline.tile.{stopped}", kill)
            with pytest.raises(KeyboardInterrupt):
                cut(tmp_path / stopped)
        cut(tmp_path / stopped)
        assert _contents(tmp_path / stopped) == _contents(cut(tmp_path / "whole.zarr"))
    shards = len(list((tmp_path / "whole.zarr" / "counted" / "c").iterdir()))
    for number in range(1, shards + 1):
        cut(tmp_path / "parts", options=RunOptions(shard=Shard(number, shards)))
    cut(tmp_path / "parts")
    assert _contents(tmp_path / "parts") == _contents(tmp_path / "whole.zarr")


def test_damage_to_what_was_annotated_is_seen(tiny_set, regions: Path, tmp_path: Path) -> None:
    out = tile(regions, tmp_path / "p.zarr", CONFIG, data_root=tiny_set.folder)
    next(file for file in (out / "counted" / "c").rglob("*") if file.is_file()).unlink()
    with pytest.raises(StoreError, match=r"counted: has \d+ shards, its record says"):
        open_patch_store(out)


def test_a_store_of_before_is_read_and_one_of_later_refused(store_path: Path) -> None:
    """Format 1 had no `counted_px`, and said nothing of its format."""
    before = open_patch_store(store_path)
    record = read_sealed_json(store_path / "nucleipel.json")
    for name in ("format", "partly"):
        del record[name]
    rows = read_table(store_path / "patches.csv")
    for row in rows:
        del row["counted_px"]
    write_table(store_path / "patches.csv", rows)
    sums = (store_path / "SHA256SUMS").read_text()
    text = re.sub(r"\w+(  patches.csv)", digest_of(store_path / "patches.csv") + r"\1", sums)
    (store_path / "SHA256SUMS").write_text(text)
    record["sums_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    write_sealed_json(store_path / "nucleipel.json", record)
    assert open_patch_store(store_path).rows == before.rows
    write_sealed_json(store_path / "nucleipel.json", record | {"format": 3})
    with pytest.raises(StoreError, match="has format 3, this nucleipel reads up to 2; update it"):
        open_patch_store(store_path)
