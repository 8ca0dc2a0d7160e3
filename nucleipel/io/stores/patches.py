"""Patches on disk: zarr v3 arrays of images and instance maps, and one CSV row a patch.

    PATCHES.zarr/
        images           (N, P, P, C)  uint8 or uint16
        instance_maps    (N, P, P)     uint32
        patches.csv      index, image_id, split, source_id, y0_px, x0_px, mpp
        nucleipel.json   record: patch size, mpp, channels, each image's shape and intensity range

One chunk a patch, so that a random read decodes nothing else; shards of many
patches, so that a file system sees few files; a checksum on each chunk, so
that a flipped bit is an error. A shard is written once, whole, by one writer.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec

from nucleipel.core.intensity import IntensityRange
from nucleipel.core.locks import PREFIX, Lock
from nucleipel.core.shard import WHOLE, Shard
from nucleipel.core.stopping import in_steps
from nucleipel.core.threads import in_background
from nucleipel.errors import StoreError
from nucleipel.io.csv_table import read_table, write_table
from nucleipel.io.records.checksums import JOURNAL, Written, count_present, require_whole
from nucleipel.io.records.output import CLAIM_SECONDS, holding, identity, read_record, read_written

IMAGES, INSTANCE_MAPS, ROWS = "images", "instance_maps", "patches.csv"


@dataclass(frozen=True, slots=True)
class PatchRow:
    """Where a patch comes from; the origin is in pixels of the working mpp, level 0."""

    index: int
    image_id: str
    split: str
    source_id: str
    y0_px: int
    x0_px: int
    mpp: float | None


@dataclass(frozen=True)
class SourceImage:
    """What a patch needs to know of the image it was read from."""

    intensity: IntensityRange
    shape: tuple[int, int]


@dataclass(frozen=True)
class PatchStore:
    """A finished store, open for reading."""

    path: Path
    patch_px: int
    channels: int
    mpp: float | None
    rows: tuple[PatchRow, ...]
    sources: dict[str, SourceImage]
    fingerprint: str

    def of_split(self, split: str) -> tuple[PatchRow, ...]:
        """Rows of one split.

        Raises
        ------
        StoreError
            If there is none.
        """
        rows = tuple(row for row in self.rows if row.split == split)
        if not rows:
            raise StoreError(f"{self.path}: holds no patch of split '{split}'; tile one")
        return rows

    def read(self, row: PatchRow) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32]]:
        """Normalized (P, P, C) float32 pixels and the (P, P) instance map of one patch."""
        try:
            # opened for each read: cheap, and safe in forked workers
            pixels = zarr.open_array(self.path / IMAGES, mode="r")[row.index]
            ids = zarr.open_array(self.path / INSTANCE_MAPS, mode="r")[row.index]
        except Exception as error:
            raise StoreError(
                f"{self.path}: patch {row.index} cannot be read: {error}; tile again"
            ) from error
        return self.sources[row.image_id].intensity.normalize(np.asarray(pixels)), np.asarray(ids)


def all_shards(count: int, shard_patches: int) -> list[range]:
    """The patches of each shard of a store that holds `count` in all."""
    return [
        range(start, min(start + shard_patches, count)) for start in range(0, count, shard_patches)
    ]


def shards_left(path: Path, shards: Iterable[range], *, shard_patches: int) -> list[range]:
    """Those of a store's shards that no earlier go of the same run has finished."""
    written = Written(path)
    return [
        shard
        for shard in shards
        if not all(name in written for name in _shard_files(shard.start // shard_patches))
    ]


def write_patches(
    path: Path,
    patches: Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.integer]]],
    *,
    shards: Iterable[range],
    count: int,
    patch_px: int,
    channels: int,
    dtype: np.dtype[Any],
    shard_patches: int,
    writer: Shard = WHOLE,
) -> None:
    """Write the patches of `shards`, of `count` in all; then the store wants its `write_rows`.

    `patches` holds (P, P, C) pixels and (P, P) ids for each, in order; a shard
    is written once, whole. Others may be written by another `writer` meanwhile.
    """
    shape, chunk = (count, patch_px, patch_px), (1, patch_px, patch_px)
    shard_shape = (shard_patches, patch_px, patch_px)
    with Lock(path / f"{PREFIX}-arrays", wait_seconds=CLAIM_SECONDS):
        path.joinpath("zarr.json").unlink(missing_ok=True)
        zarr.create_group(path)
        images = _array(
            path / IMAGES, (*shape, channels), (*chunk, channels), (*shard_shape, channels), dtype
        )
        instance_maps = _array(path / INSTANCE_MAPS, shape, chunk, shard_shape, np.dtype(np.uint32))
    name = JOURNAL if writer.closes else f"{JOURNAL}-{writer.number}-of-{writer.count}"
    written = Written(path, name)

    def note(done: tuple[range, ExitStack]) -> None:
        shard, held = done
        with held:
            written.add(_shard_files(shard.start // shard_patches))

    # the disk takes a shard while the next one is cut; it is held until it is noted
    with in_background(note) as give:
        for shard in in_steps(shards):
            with ExitStack() as held:
                held.enter_context(holding(path, f"{shard.start}-{shard.stop - 1}", kind="patches"))
                pixels, ids = zip(*islice(patches, len(shard)), strict=True)
                images[shard.start : shard.stop] = np.stack(pixels).astype(dtype)
                instance_maps[shard.start : shard.stop] = np.stack(ids).astype(np.uint32)
                give((shard, held.pop_all()))


def _shard_files(number: int) -> tuple[str, str]:
    return f"{IMAGES}/c/{number}/0/0/0", f"{INSTANCE_MAPS}/c/{number}/0/0"


def shard_count(count: int, shard_patches: int) -> int:
    """Files that each array of a finished store consists of, beside its metadata."""
    return -(-count // shard_patches)


def open_patch_store(path: Path) -> PatchStore:
    """Open a finished store for reading.

    Raises
    ------
    StoreError
        If it is missing, unfinished, or altered where no checksum of a patch
        would tell, or shards are missing (which zarr would silently read as zeros).
    """
    record = read_record(path, stage="tile")
    written = read_written(path, record)
    for name in (f"{IMAGES}/zarr.json", f"{INSTANCE_MAPS}/zarr.json", ROWS):
        require_whole(path, name, written, again="tile")
    for name in (IMAGES, INSTANCE_MAPS):
        found = count_present(path, written, f"{name}/c")
        if found != record["shards"]:
            raise StoreError(
                f"{path}/{name}: has {found} shards, its record says {record['shards']}; tile again"
            )
    sources = {
        image_id: SourceImage(
            IntensityRange(tuple(source["low"]), tuple(source["high"])), tuple(source["shape"])
        )
        for image_id, source in record["images"].items()
    }
    return PatchStore(
        path=path,
        patch_px=record["config"]["patch_px"],
        channels=record["config"]["channels"],
        mpp=record["config"]["mpp"],
        rows=tuple(_read_rows(path / ROWS)),
        sources=sources,
        fingerprint=identity(record),
    )


def _array(
    path: Path,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    shards: tuple[int, ...],
    dtype: np.dtype[Any],
) -> zarr.Array[Any]:
    # anew, in place: what an earlier go wrote below it stays
    path.joinpath("zarr.json").unlink(missing_ok=True)
    return zarr.create_array(
        path,
        shape=shape,
        chunks=chunks,
        shards=shards,
        dtype=dtype,
        compressors=[
            BloscCodec(cname="lz4", clevel=5, shuffle=BloscShuffle.bitshuffle),
            Crc32cCodec(),
        ],
        dimension_names=("patch", "y", "x", "channel")[: len(shape)],
        # an all-zero shard must exist too: a missing file is how damage shows
        config={"write_empty_chunks": True},
    )


def write_rows(path: Path, rows: Iterable[PatchRow]) -> None:
    """Write where each patch of the store `path` comes from."""
    columns = [field.name for field in fields(PatchRow)]
    write_table(path / ROWS, map(asdict, rows), columns=columns)


def _read_rows(path: Path) -> Iterator[PatchRow]:
    for cells in read_table(path):
        yield PatchRow(
            index=int(cells["index"]),
            image_id=cells["image_id"],
            split=cells["split"],
            source_id=cells["source_id"],
            y0_px=int(cells["y0_px"]),
            x0_px=int(cells["x0_px"]),
            mpp=float(cells["mpp"]) if cells["mpp"] else None,
        )
