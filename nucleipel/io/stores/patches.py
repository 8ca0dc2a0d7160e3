"""Patches on disk: zarr v3 arrays of images and instance maps, and one CSV row a patch.

    PATCHES.zarr/
        images           (N, P, P, C)  uint8 or uint16
        instance_maps    (N, P, P)     uint32
        counted          (N, P, P)     bool, what was annotated: only where that is not all
        patches.csv      index, image_id, split, source_id, y0_px, x0_px, mpp, counted_px
        nucleipel.json   record: patch size, mpp, channels, each image's shape and intensity range

One chunk a patch, so that a random read decodes nothing else; shards of many
patches, so that a file system sees few files; a checksum on each chunk, so
that a flipped bit is an error. A shard is written once, whole, by one writer.
"""

from collections.abc import Iterable, Iterator, Sequence
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
from nucleipel.core.stop_signals import in_steps
from nucleipel.core.threads import in_background
from nucleipel.errors import StoreError
from nucleipel.io.csv_table import read_table, write_table
from nucleipel.io.records.checksums import JOURNAL, Written, count_present, require_whole
from nucleipel.io.records.output import CLAIM_SECONDS, holding, identity, read_record, read_written

IMAGES, INSTANCE_MAPS, COUNTED, ROWS = "images", "instance_maps", "counted", "patches.csv"
FORMAT = 2
"""Format of the record; 1, which did not say so, had neither `counted` nor `counted_px`."""


Patch = tuple[npt.NDArray[Any], npt.NDArray[np.integer], npt.NDArray[np.bool_] | None]
"""(P, P, C) pixels, (P, P) ids, and (P, P) what was annotated: all of it if None."""


@dataclass(frozen=True, slots=True)
class PatchRow:
    """The source of a patch; the origin is in pixels of the working frame.

    `counted_px` of its pixels were annotated.
    """

    index: int
    image_id: str
    split: str
    source_id: str
    y0_px: int
    x0_px: int
    mpp: float | None
    counted_px: int


@dataclass(frozen=True)
class SourceImage:
    """The image that a patch was read from."""

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

    def read(self, row: PatchRow) -> Patch:
        """Normalized (P, P, C) float32 pixels, the (P, P) instance map and what was annotated."""
        partly = row.counted_px < self.patch_px**2
        try:
            # opened for each read: cheap, and safe in forked workers
            pixels, ids, *counted = (
                np.asarray(zarr.open_array(self.path / name, mode="r")[row.index])
                for name in array_names(partly=partly)
            )
        except Exception as error:
            raise StoreError(
                f"{self.path}: patch {row.index} cannot be read: {error}; tile again"
            ) from error
        intensity = self.sources[row.image_id].intensity
        return intensity.normalize(pixels), ids, counted[0] if counted else None


@dataclass(frozen=True, slots=True)
class StoreLayout:
    """Layout of the patches of a store in its arrays.

    `partly`: whether some pixels were not annotated, so that there is the array `counted`.
    """

    count: int
    patch_px: int
    channels: int
    dtype: np.dtype[Any]
    shard_patches: int
    partly: bool

    @property
    def shards(self) -> list[range]:
        """The patches of each shard, one file an array."""
        starts = range(0, self.count, self.shard_patches)
        return [range(start, min(start + self.shard_patches, self.count)) for start in starts]

    def files(self, shard: range) -> list[str]:
        """Names of the files of a shard, one an array."""
        number = shard.start // self.shard_patches
        ends = {IMAGES: "0/0/0", INSTANCE_MAPS: "0/0", COUNTED: "0/0"}
        return [f"{name}/c/{number}/{ends[name]}" for name in array_names(partly=self.partly)]


def array_names(*, partly: bool) -> tuple[str, ...]:
    """The arrays that a patch, or a store, consists of; a third where some was not annotated."""
    return (IMAGES, INSTANCE_MAPS, COUNTED) if partly else (IMAGES, INSTANCE_MAPS)


def shards_left(path: Path, shards: Iterable[range], layout: StoreLayout) -> list[range]:
    """Shards of a store that no earlier go of the same run has finished."""
    written = Written(path)
    return [shard for shard in shards if not all(name in written for name in layout.files(shard))]


def write_patches(
    path: Path,
    patches: Iterator[Patch],
    layout: StoreLayout,
    *,
    shards: Iterable[range],
    writer: Shard = WHOLE,
) -> None:
    """Write the patches of `shards`; then the store wants its `write_rows`.

    `patches` are those of these shards, in order; a shard is written once,
    whole. Others may be written by another `writer` meanwhile.
    """
    with Lock(path / f"{PREFIX}-arrays", wait_seconds=CLAIM_SECONDS):
        path.joinpath("zarr.json").unlink(missing_ok=True)
        zarr.create_group(path)
        arrays = [_array(path, name, layout) for name in array_names(partly=layout.partly)]
    name = JOURNAL if writer.closes else f"{JOURNAL}-{writer.number}-of-{writer.count}"
    written = Written(path, name)

    def note(done: tuple[range, ExitStack]) -> None:
        shard, held = done
        with held:
            written.add(layout.files(shard))

    # the disk takes a shard while the next one is cut; it is held until it is noted
    with in_background(note) as give:
        for shard in in_steps(shards):
            with ExitStack() as held:
                held.enter_context(holding(path, f"{shard.start}-{shard.stop - 1}", kind="patches"))
                parts = zip(*islice(patches, len(shard)), strict=True)
                for array, part in zip(arrays, parts, strict=False):
                    array[shard.start : shard.stop] = _stacked(part, array)
                give((shard, held.pop_all()))


def _stacked(parts: Sequence[npt.NDArray[Any] | None], array: Any) -> npt.NDArray[Any]:
    """One array of those of all patches; where one says nothing, all of it was annotated."""
    everything = np.ones(array.shape[1:], np.bool_)
    return np.stack([everything if part is None else part for part in parts]).astype(array.dtype)


def open_patch_store(path: Path) -> PatchStore:
    """Open a finished store for reading.

    Raises
    ------
    StoreError
        If it is missing, unfinished, or altered where no checksum of a patch
        would say, or shards are missing (which zarr would silently read as zeros).
    """
    record = read_record(path, stage="tile")
    if record.get("format", 1) > FORMAT:
        raise StoreError(
            f"{path}: has format {record['format']}, this nucleipel reads up to {FORMAT}; update it"
        )
    written = read_written(path, record)
    names = array_names(partly=record.get("partly", False))
    for name in (*(f"{name}/zarr.json" for name in names), ROWS):
        require_whole(path, name, written, again="tile")
    for name in names:
        count = count_present(path, written, f"{name}/c")
        if count != record["shards"]:
            raise StoreError(
                f"{path}/{name}: has {count} shards, its record says {record['shards']}; tile again"
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
        rows=tuple(_read_rows(path / ROWS, patch_px=record["config"]["patch_px"])),
        sources=sources,
        fingerprint=identity(record),
    )


def _array(path: Path, name: str, layout: StoreLayout) -> zarr.Array[Any]:
    # anew, in place: what an earlier go wrote below it stays
    (path / name / "zarr.json").unlink(missing_ok=True)
    stored = {IMAGES: layout.dtype.name, INSTANCE_MAPS: "uint32", COUNTED: "bool"}
    patch = (layout.patch_px, layout.patch_px, *((layout.channels,) if name == IMAGES else ()))
    return zarr.create_array(
        path / name,
        shape=(layout.count, *patch),
        chunks=(1, *patch),
        shards=(layout.shard_patches, *patch),
        dtype=stored[name],
        compressors=[
            BloscCodec(cname="lz4", clevel=5, shuffle=BloscShuffle.bitshuffle),
            Crc32cCodec(),
        ],
        dimension_names=("patch", "y", "x", "channel")[: 1 + len(patch)],
        # an all-zero shard must exist too: a missing file means damage
        config={"write_empty_chunks": True},
    )


def write_rows(path: Path, rows: Iterable[PatchRow]) -> None:
    """Write where each patch of the store `path` comes from."""
    columns = [field.name for field in fields(PatchRow)]
    write_table(path / ROWS, map(asdict, rows), columns=columns)


def _read_rows(path: Path, *, patch_px: int) -> Iterator[PatchRow]:
    for cells in read_table(path):
        yield PatchRow(
            index=int(cells["index"]),
            image_id=cells["image_id"],
            split=cells["split"],
            source_id=cells["source_id"],
            y0_px=int(cells["y0_px"]),
            x0_px=int(cells["x0_px"]),
            mpp=float(cells["mpp"]) if cells["mpp"] else None,
            counted_px=int(cells.get("counted_px") or patch_px**2),
        )
