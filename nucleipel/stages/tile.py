"""Cut annotated images and slides into overlapping patches, stored in zarr."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.config import TileConfig
from nucleipel.core.geometry import Box, overlapping_tiles
from nucleipel.core.intensity import IntensityRange, to_channels
from nucleipel.core.progress import track
from nucleipel.errors import ManifestError
from nucleipel.io.manifest import Manifest, Row, read_manifest
from nucleipel.io.output import claim_output
from nucleipel.io.patch_store import PatchRow, shard_count, shards_left, write_patches
from nucleipel.io.reading import Reading
from nucleipel.io.slide import open_annotation
from nucleipel.stages.reading import build_reading

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Planned:
    """One image and the tiles it will be cut into."""

    row: Row
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    intensity: IntensityRange
    tiles: list[Box]


def tile(
    manifest: Path,
    out: Path,
    config: TileConfig,
    *,
    data_root: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the patches of the annotated rows of `config.splits` into the store `out`."""
    rows = _rows_to_tile(read_manifest(manifest, data_root=data_root), config.splits)
    reading = build_reading(config, at_mpp=config.mpp, channels=config.channels)
    rows.require_readable(reading)
    output = claim_output(
        out,
        stage="tile",
        config=config.identity(),
        inputs={"images": rows.fingerprint()},
        overwrite=overwrite,
    )
    if output.complete:
        log.info("%s: these patches are finished", out)
        return out
    plans = [_plan(row, config, reading) for row in track(rows.rows, "reading intensities")]
    patch_rows = list(_patch_rows(plans, mpp=config.mpp))
    left = shards_left(out, len(patch_rows), config.shard_patches)
    write_patches(
        out,
        patch_rows,
        _read_patches(plans, reading, wanted={index for shard in left for index in shard}),
        shards=left,
        count=len(patch_rows),
        patch_px=config.patch_px,
        channels=config.channels,
        dtype=np.result_type(*(plan.dtype for plan in plans)),
        shard_patches=config.shard_patches,
    )
    output.commit(
        patches=len(patch_rows),
        shards=shard_count(len(patch_rows), config.shard_patches),
        images={plan.row.id: _describe(plan) for plan in plans},
    )
    log.info("%s: %d patches of %d images", out, len(patch_rows), len(plans))
    return out


def _rows_to_tile(manifest: Manifest, splits: tuple[str, ...]) -> Manifest:
    chosen = [row for split in splits for row in manifest.of_split(split).rows]
    annotated = tuple(row for row in chosen if row.label is not None)
    if not annotated:
        raise ManifestError(f"{manifest.path}: no row to tile has a label; fill the column")
    if len(annotated) < len(chosen):
        log.warning("%d images have no label and are left out", len(chosen) - len(annotated))
    return Manifest(manifest.path, annotated)


def _plan(row: Row, config: TileConfig, reading: Reading) -> _Planned:
    with reading.open(row.image, mpp=row.mpp) as slide:
        tiles = overlapping_tiles(
            slide.shape, side_px=config.patch_px, overlap_px=config.overlap_px
        )
        shown = slide.intensity_range().repeated(config.channels)
        return _Planned(row, slide.shape, slide.dtype, shown, tiles)


def _patch_rows(plans: list[_Planned], *, mpp: float | None) -> Iterator[PatchRow]:
    boxes = ((plan.row, box) for plan in plans for box in plan.tiles)
    for index, (row, box) in enumerate(boxes):
        yield PatchRow(index, row.id, row.split, row.source_id, box.y0, box.x0, mpp)


def _read_patches(
    plans: list[_Planned], reading: Reading, *, wanted: set[int]
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.integer]]]:
    first = 0
    for plan in track(plans, "cutting patches"):
        tiles = [box for index, box in enumerate(plan.tiles, first) if index in wanted]
        first += len(plan.tiles)
        if not tiles:
            continue
        label = plan.row.require_label()
        with (
            reading.open(plan.row.image, mpp=plan.row.mpp) as slide,
            open_annotation(label, resolution=slide.resolution) as annotation,
        ):
            for box in tiles:
                yield to_channels(slide.read(box), reading.channels), annotation.read(box)


def _describe(plan: _Planned) -> dict[str, Any]:
    return {
        "shape": list(plan.shape),
        "low": list(plan.intensity.low),
        "high": list(plan.intensity.high),
    }
