"""Estimate what `tile` will take: its tiles are counted, and some of them are cut and timed."""

import logging
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nucleipel.config import PlanConfig, TileConfig
from nucleipel.core.evenly_spaced import thin
from nucleipel.core.machine import bytes_below
from nucleipel.io.manifest import Manifest
from nucleipel.io.slides.intensity_range import MOST_READ_PX
from nucleipel.io.stores.patches import write_patches
from nucleipel.stages.pipeline.tile import TilePlan, describe_intensity, lay_tiles, read_patches

log = logging.getLogger(__name__)

TILED_IMAGES, TILED_PATCHES = 6, 8
"""Images that patches are sampled from, and patches of each."""
START_WITHOUT_TORCH = 0.4
"""Share of the start of `predict` that `tile` and `stitch` take: 1.6 of 4.1 s were measured."""
TILE_BASE_BYTES = 180 * 2**20
PATCH_COPIES = 3
"""A shard's patches are held one by one, put together, and compressed."""
RANGE_BYTES = 9
"""Bytes that the percentiles of one value take, besides the value itself."""


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """Estimate of one stage; `patches` are those of `tile`, or windows of the network."""

    stage: str
    patches: int
    disk_bytes: int
    memory_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _PatchCost:
    """Cost of one patch, and of one image besides its patches."""

    patch_bytes: float
    patch_seconds: float
    image_seconds: float


def plan_tiling(rows: Manifest, config: PlanConfig) -> TilePlan | None:
    """Lay the tiles of the rows that `tile` would take; None if there are no such rows."""
    tiled = config.tiling()
    splits = tuple(
        split
        for split in tiled.splits
        if any(row.split == split and row.label is not None for row in rows)
    )
    if not splits:
        return None
    if splits != tiled.splits:
        lacking = ", ".join(split for split in tiled.splits if split not in splits)
        log.warning("no row of split %s to tile: tile wants --set splits without it", lacking)
    return lay_tiles(rows, tiled.model_copy(update={"splits": splits}))


def estimate_tile(
    tiling: TilePlan, config: PlanConfig, folder: Path, start_seconds: float
) -> StageEstimate:
    """Estimate what all tiles take from some that are cut into `folder`."""
    tiled = config.tiling()
    cost = _time_patches(tiling, tiled, folder)
    values = tiled.patch_px**2 * min(tiled.shard_patches, tiling.patches)
    layout = tiling.layout(tiled)
    shard_bytes = values * (tiled.channels * layout.dtype.itemsize + 4 + layout.partly)
    largest = max(math.prod(image.shape) for image in tiling.images)
    ranges = min(largest, MOST_READ_PX) * tiled.channels * RANGE_BYTES
    return StageEstimate(
        "tile",
        tiling.patches,
        round(cost.patch_bytes * tiling.patches),
        TILE_BASE_BYTES + max(PATCH_COPIES * shard_bytes, ranges),
        start_seconds * START_WITHOUT_TORCH
        + cost.patch_seconds * tiling.patches
        + cost.image_seconds * len(tiling.images),
    )


def _time_patches(plan: TilePlan, config: TileConfig, folder: Path) -> _PatchCost:
    """Cut and store some patches of some images, as `tile` does."""
    chosen = thin(range(len(plan.images)), TILED_IMAGES)
    firsts = np.cumsum([0, *(len(image.tiles) for image in plan.images)]).tolist()
    wanted = [
        index
        for place in chosen
        for index in thin(range(firsts[place], firsts[place + 1]), TILED_PATCHES)
    ]
    layout = replace(
        plan.layout(config),
        count=len(wanted),
        shard_patches=min(config.shard_patches, len(wanted)),
    )
    folder.mkdir()
    start = time.perf_counter()
    write_patches(
        folder,
        read_patches(plan, wanted=set(wanted)),
        layout,
        shards=layout.shards,
    )
    cut = time.perf_counter()
    for place in chosen:
        describe_intensity(plan.images[place], plan.reader)
    end = time.perf_counter()
    return _PatchCost(
        patch_bytes=bytes_below(folder) / len(wanted),
        patch_seconds=(cut - start) / len(wanted),
        image_seconds=(end - cut) / len(chosen),
    )
