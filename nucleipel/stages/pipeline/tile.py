"""Cut annotated images and slides into overlapping patches, stored in zarr."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.config import TileConfig
from nucleipel.core.geometry import Box, overlapping_tiles
from nucleipel.core.intensity import to_channels
from nucleipel.core.progress import track
from nucleipel.core.run_options import WHOLE_RUN, RunOptions
from nucleipel.core.shard import Part
from nucleipel.errors import ImageError, ManifestError, StoreError
from nucleipel.io.manifest import Manifest, Row, read_manifest
from nucleipel.io.slides.slide_reader import SlideReader
from nucleipel.io.stores.patches import (
    FORMAT,
    Patch,
    PatchRow,
    StoreLayout,
    shards_left,
    write_patches,
    write_rows,
)
from nucleipel.stages.pipeline.reader_settings import build_slide_reader
from nucleipel.stages.pipeline.run_parts import SharedRun, Step, claim

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlannedImage:
    """One image and its tiles; small, to be sent to workers.

    `within` are the tiles that hold some of its region, with the pixels of each
    that do; None if all of it was annotated.
    """

    row: Row
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    side_px: int
    overlap_px: int
    within: tuple[tuple[Box, int], ...] | None = None

    @property
    def tiles(self) -> list[Box]:
        """The tiles that it will be cut into."""
        if self.within is not None:
            return [box for box, _ in self.within]
        return overlapping_tiles(self.shape, side_px=self.side_px, overlap_px=self.overlap_px)

    @property
    def counted_px(self) -> list[int]:
        """Annotated pixels of each tile."""
        if self.within is not None:
            return [count for _, count in self.within]
        return [self.side_px**2] * len(self.tiles)


@dataclass(frozen=True)
class TilePlan:
    """All patches of a store, image by image; nothing of it depends on who cuts which."""

    rows: Manifest
    reader: SlideReader
    images: list[PlannedImage]
    inputs: dict[str, str]

    @property
    def patches(self) -> int:
        """Number of patches."""
        return sum(len(image.tiles) for image in self.images)

    def layout(self, config: TileConfig) -> StoreLayout:
        """Layout of the store; its pixel type holds those of all images."""
        return StoreLayout(
            count=self.patches,
            patch_px=config.patch_px,
            channels=config.channels,
            dtype=np.result_type(*(image.dtype for image in self.images)),
            shard_patches=config.shard_patches,
            partly=any(image.within is not None for image in self.images),
        )

    def images_of(self, patches: range) -> list[str]:
        """Ids of the images that some of the patches are cut from."""
        first, names = 0, []
        for image in self.images:
            past = first + len(image.tiles)
            if first < patches.stop and patches.start < past:
                names.append(image.row.id)
            first = past
        return names


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
    """Plan where patches lie; of the images only sizes, pixel types and regions are read.

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
    """Plan the tiles of rows that are read, without `inputs`; errors as `plan_tiles`."""
    rows = _rows_to_tile(manifest, config.splits)
    reader = build_slide_reader(config, at_mpp=config.mpp, channels=config.channels)
    rows.require_readable(reader)
    return TilePlan(rows, reader, [_plan_image(row, config, reader) for row in rows], {})


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
        for patches in plan.layout(config).shards
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
    """Write the patches of tiles that are planned."""
    shard, layout = options.shard, plan.layout(config)
    mine = shard.of(layout.shards)
    if shard.count and not mine:
        log.info("shard %s of %d shards is empty: nothing to do", shard, len(layout.shards))
        return out
    output = claim("tile", out, config, plan.inputs, options)
    if output.complete:
        log.info("%s: these patches are finished", out)
        return out
    left = shards_left(out, mine, layout)
    wanted = {index for patches in left for index in patches}
    write_patches(out, read_patches(plan, wanted=wanted), layout, shards=left, writer=shard)
    if not shard.closes:
        output.release()
        log.info("%s: shard %s is done: %d of %d", out, shard, len(mine), len(layout.shards))
        return out
    _require_all(out, layout)
    described = {
        image.row.id: describe_intensity(image, plan.reader)
        for image in track(plan.images, "reading intensities")
    }
    write_rows(out, _patch_rows(plan.images, mpp=config.mpp))
    output.commit(
        format=FORMAT,
        partly=layout.partly,
        patches=plan.patches,
        shards=len(layout.shards),
        images=described,
    )
    log.info("%s: %d patches of %d images", out, plan.patches, len(plan.images))
    return out


def _require_all(out: Path, layout: StoreLayout) -> None:
    missing = shards_left(out, layout.shards, layout)
    if missing:
        raise StoreError(
            f"{out}: {len(missing)} of {len(layout.shards)} shards are missing;"
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


def _plan_image(row: Row, config: TileConfig, reader: SlideReader) -> PlannedImage:
    sizes = {"side_px": config.patch_px, "overlap_px": config.overlap_px}
    with row.open(reader) as slide:
        planned = PlannedImage(row, slide.shape, slide.dtype, config.patch_px, config.overlap_px)
        if row.region is None:
            return planned
        known, within = row.load_annotation(slide.resolution.source_shape), []
        for piece in known.pieces(slide.resolution):
            for box in overlapping_tiles(slide.shape, **sizes, within=piece):
                counted = known.counted(box, slide.resolution)
                if counted is not None and counted.any():
                    within.append((box, int(counted.sum())))
        if not within:
            raise ImageError(
                f"{row.region}: holds no pixel of '{row.id}' at the working mpp; draw it larger"
            )
        return replace(planned, within=tuple(within))


def _patch_rows(plans: list[PlannedImage], *, mpp: float | None) -> Iterator[PatchRow]:
    patches = (
        (plan.row, box, counted_px)
        for plan in plans
        for box, counted_px in zip(plan.tiles, plan.counted_px, strict=True)
    )
    for index, (row, box, counted_px) in enumerate(patches):
        yield PatchRow(index, row.id, row.split, row.source_id, box.y0, box.x0, mpp, counted_px)


def read_patches(plan: TilePlan, *, wanted: set[int]) -> Iterator[Patch]:
    """Pixels, ids and what was annotated of the wanted patches, in order."""
    first = 0
    for image in track(plan.images, "cutting patches"):
        boxes = image.tiles
        tiles = [box for index, box in enumerate(boxes, first) if index in wanted]
        first += len(boxes)
        if not tiles:
            continue
        with image.row.open(plan.reader) as slide:
            known = image.row.load_annotation(slide.resolution.source_shape)
            with known.open(slide.resolution) as read_ids:
                for box in tiles:
                    pixels = to_channels(slide.read(box), plan.reader.channels)
                    yield pixels, read_ids(box), known.counted(box, slide.resolution)


def describe_intensity(image: PlannedImage, reader: SlideReader) -> dict[str, Any]:
    """Shape and intensity range of an image, for the record of its patches."""
    with image.row.open(reader) as slide:
        shown = slide.intensity_range().repeated(reader.channels)
    return {"shape": list(image.shape), "low": list(shown.low), "high": list(shown.high)}
