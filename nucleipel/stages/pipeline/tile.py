"""Cut annotated images and slides into overlapping patches, stored in zarr."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.config import TileConfig
from nucleipel.core.geometry import Box, overlapping_tiles
from nucleipel.core.intensity import to_channels
from nucleipel.core.progress import track
from nucleipel.core.run_options import WHOLE_RUN, RunOptions
from nucleipel.core.shard import Part
from nucleipel.errors import ManifestError, StoreError
from nucleipel.io.manifest import Manifest, Row, read_manifest
from nucleipel.io.slides.slide_reader import Reading
from nucleipel.io.stores.patches import (
    PatchRow,
    all_shards,
    shard_count,
    shards_left,
    write_patches,
    write_rows,
)
from nucleipel.stages.pipeline.build_reader import build_reading
from nucleipel.stages.pipeline.shared_run import SharedRun, Step, claim

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlannedImage:
    """One image and how it will be cut; small, to be sent to workers."""

    row: Row
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    side_px: int
    overlap_px: int

    @property
    def tiles(self) -> list[Box]:
        """The tiles that it will be cut into."""
        return overlapping_tiles(self.shape, side_px=self.side_px, overlap_px=self.overlap_px)


@dataclass(frozen=True)
class TilePlan:
    """All patches of a store, image by image; nothing of it depends on who cuts which."""

    rows: Manifest
    reading: Reading
    images: list[PlannedImage]
    inputs: dict[str, str]

    @property
    def patches(self) -> int:
        """How many there are."""
        return sum(len(image.tiles) for image in self.images)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored pixels: one that holds those of all images."""
        return np.result_type(*(image.dtype for image in self.images))

    def images_of(self, patches: range) -> list[str]:
        """Ids of the images that some of the patches are cut from."""
        first, found = 0, []
        for image in self.images:
            past = first + len(image.tiles)
            if first < patches.stop and patches.start < past:
                found.append(image.row.id)
            first = past
        return found


def tile(
    manifest: Path,
    out: Path,
    config: TileConfig,
    *,
    data_root: Path | None = None,
    options: RunOptions = WHOLE_RUN,
) -> Path:
    """Write the patches of the annotated rows of `config.splits` into the store `out`.

    With a shard in `options`, only every so many-th of the store's own shards:
    several may be at work at a time, and a last run without one, or with
    `CLOSE`, completes the store.
    """
    plan = plan_tiles(manifest, config, data_root=data_root)
    return tile_patches(plan, out, config, options=options)


def plan_tiles(manifest: Path, config: TileConfig, *, data_root: Path | None = None) -> TilePlan:
    """Where the patches will lie; of the images only their sizes and pixel types are read.

    Raises
    ------
    ManifestError
        If no row has a label.
    ImageError
        With every image that cannot be used.
    """
    rows = read_manifest(manifest, data_root=data_root, needed=config.splits, series=config.series)
    plan = lay_tiles(rows, config)
    return replace(plan, inputs={"images": plan.rows.fingerprint()})


def lay_tiles(manifest: Manifest, config: TileConfig) -> TilePlan:
    """The same for rows that are read, without `inputs`; errors as `plan_tiles`."""
    rows = _rows_to_tile(manifest, config.splits)
    reading = build_reading(config, at_mpp=config.mpp, channels=config.channels)
    rows.require_readable(reading)
    return TilePlan(rows, reading, [_plan_image(row, config, reading) for row in rows.rows], {})


def share_tile(
    manifest: Path,
    out: Path,
    config: TileConfig,
    options: RunOptions = WHOLE_RUN,
    *,
    data_root: Path | None = None,
) -> SharedRun:
    """Take the store `out` for workers that each write shards of it."""
    plan = plan_tiles(manifest, config, data_root=data_root)
    parts = [
        Part(f"patches {patches.start}-{patches.stop - 1} ({', '.join(plan.images_of(patches))})")
        for patches in all_shards(plan.patches, config.shard_patches)
    ]
    output = claim("tile", out, config, plan.inputs, options)
    work = partial(tile_patches, plan, out, config)
    return SharedRun(output, [Step("tiling", work, parts)], work, options)


def tile_patches(
    plan: TilePlan,
    out: Path,
    config: TileConfig,
    *,
    options: RunOptions = WHOLE_RUN,
) -> Path:
    """The same with tiles that are planned."""
    shard, shards = options.shard, all_shards(plan.patches, config.shard_patches)
    mine = shard.of(shards)
    if shard.count and not mine:
        log.info("shard %s of %d shards is empty: nothing to do", shard, len(shards))
        return out
    output = claim("tile", out, config, plan.inputs, options)
    if output.complete:
        log.info("%s: these patches are finished", out)
        return out
    left = shards_left(out, mine, shard_patches=config.shard_patches)
    write_patches(
        out,
        read_patches(plan, wanted={index for patches in left for index in patches}),
        shards=left,
        count=plan.patches,
        patch_px=config.patch_px,
        channels=config.channels,
        dtype=plan.dtype,
        shard_patches=config.shard_patches,
        writer=shard,
    )
    if not shard.closes:
        output.release()
        log.info("%s: shard %s is done: %d of %d shards", out, shard, len(mine), len(shards))
        return out
    _require_all(out, shards, config)
    described = {
        image.row.id: describe_intensity(image, plan.reading)
        for image in track(plan.images, "reading intensities")
    }
    write_rows(out, _patch_rows(plan.images, mpp=config.mpp))
    count = shard_count(plan.patches, config.shard_patches)
    output.commit(patches=plan.patches, shards=count, images=described)
    log.info("%s: %d patches of %d images", out, plan.patches, len(plan.images))
    return out


def _require_all(out: Path, shards: list[range], config: TileConfig) -> None:
    missing = shards_left(out, shards, shard_patches=config.shard_patches)
    if missing:
        raise StoreError(
            f"{out}: {len(missing)} of {len(shards)} shards are missing;"
            " run their --shard, or run without one"
        )


def _rows_to_tile(manifest: Manifest, splits: tuple[str, ...]) -> Manifest:
    chosen = [row for split in splits for row in manifest.of_split(split).rows]
    annotated = tuple(row for row in chosen if row.label is not None)
    if not annotated:
        raise ManifestError(f"{manifest.path}: no row to tile has a label; fill the column")
    if len(annotated) < len(chosen):
        log.warning("%d images have no label and are left out", len(chosen) - len(annotated))
    return Manifest(manifest.path, annotated)


def _plan_image(row: Row, config: TileConfig, reading: Reading) -> PlannedImage:
    with row.open(reading) as slide:
        return PlannedImage(row, slide.shape, slide.dtype, config.patch_px, config.overlap_px)


def _patch_rows(plans: list[PlannedImage], *, mpp: float | None) -> Iterator[PatchRow]:
    boxes = ((plan.row, box) for plan in plans for box in plan.tiles)
    for index, (row, box) in enumerate(boxes):
        yield PatchRow(index, row.id, row.split, row.source_id, box.y0, box.x0, mpp)


def read_patches(
    plan: TilePlan, *, wanted: set[int]
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.integer]]]:
    """Pixels (P, P, C) and ids (P, P) of the wanted patches, in order."""
    first = 0
    for image in track(plan.images, "cutting patches"):
        boxes = image.tiles
        tiles = [box for index, box in enumerate(boxes, first) if index in wanted]
        first += len(boxes)
        if not tiles:
            continue
        with image.row.open(plan.reading) as slide:
            known = image.row.load_annotation(slide.resolution.source_shape)
            with known.open(slide.resolution) as read_ids:
                for box in tiles:
                    yield to_channels(slide.read(box), plan.reading.channels), read_ids(box)


def describe_intensity(image: PlannedImage, reading: Reading) -> dict[str, Any]:
    """Shape and intensity range of an image, for the record of its patches."""
    with image.row.open(reading) as slide:
        shown = slide.intensity_range().repeated(reading.channels)
    return {"shape": list(image.shape), "low": list(shown.low), "high": list(shown.high)}
