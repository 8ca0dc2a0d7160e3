"""Patches come back as they went in, and damage never reads as zeros."""

from pathlib import Path

import numpy as np
import pytest

from nucleipel.config import TileConfig
from nucleipel.core.geometry import Box
from nucleipel.errors import StoreError
from nucleipel.io.slides.slide import open_slide, read_annotation
from nucleipel.io.stores.patches import open_patch_store
from nucleipel.stages.pipeline.tile import tile

CONFIG = TileConfig(patch_px=64, overlap_px=16, mpp=0.5, shard_patches=4)


@pytest.fixture
def store_path(tiny_set, tmp_path: Path) -> Path:
    return tile(tiny_set.manifest, tmp_path / "patches.zarr", CONFIG)


def test_nothing_of_the_source_is_lost(tiny_set, store_path: Path) -> None:
    store = open_patch_store(store_path)
    for split in ("train", "val"):
        with open_slide(tiny_set.image(split)) as slide:
            whole = slide.intensity_range().normalize(slide.read(Box.of_shape(slide.shape)))
        annotation = read_annotation(tiny_set.folder / f"{split}_label.tif")
        pixels, ids = np.full_like(whole, -1), np.full(annotation.shape, -1, np.int64)
        for row in store.of_split(split):
            patch, instance_map = store.read(row)
            assert (row.image_id, row.source_id, row.mpp) == (split, f"source-{split}", 0.5)
            here = np.s_[row.y0_px : row.y0_px + 64, row.x0_px : row.x0_px + 64]
            pixels[here], ids[here] = patch, instance_map
        assert np.array_equal(pixels, whole)
        assert np.array_equal(ids, annotation)


def test_only_the_splits_asked_for(store_path: Path) -> None:
    store = open_patch_store(store_path)
    assert {row.split for row in store.rows} == {"train", "val"}
    with pytest.raises(StoreError, match="holds no patch of split 'test'"):
        store.of_split("test")


def test_an_image_smaller_than_a_patch_is_mirrored(tiny_set, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"patch_px": 192})
    store = open_patch_store(tile(tiny_set.manifest, tmp_path / "p.zarr", config))
    (row,) = store.of_split("val")
    _, ids = store.read(row)
    annotation = read_annotation(tiny_set.folder / "val_label.tif")
    assert np.array_equal(ids, np.pad(annotation, (0, 64), mode="reflect"))


def test_missing_shard_is_told(store_path: Path) -> None:
    next(file for file in (store_path / "images" / "c").rglob("*") if file.is_file()).unlink()
    with pytest.raises(StoreError, match=r"images: has \d+ shards, its record says"):
        open_patch_store(store_path)


def test_flipped_bit_is_told(store_path: Path) -> None:
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
