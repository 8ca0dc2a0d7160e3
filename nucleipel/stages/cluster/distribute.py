"""The stages that go image by image, spread over workers; each ends here, with its record."""

import logging
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from nucleipel.config import PredictConfig, SegmentConfig, StitchConfig, TileConfig
from nucleipel.core.shard import CLOSE, Shard
from nucleipel.errors import StoreError
from nucleipel.io.manifest import Manifest
from nucleipel.io.records.output import Output
from nucleipel.io.stores.patches import all_shards
from nucleipel.io.stores.predictions import open_predictions
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.stages.cluster.dask_workers import Cluster, Work
from nucleipel.stages.pipeline.predict import claim_predictions, inputs_of, predict, reading_of
from nucleipel.stages.pipeline.segment import claim_segmented, segment
from nucleipel.stages.pipeline.stitch import choose_block_px, claim_instances, stitch
from nucleipel.stages.pipeline.tile import claim_patches, plan_tiles, tile_patches

log = logging.getLogger(__name__)


def tile_on(
    cluster: Cluster,
    manifest: Path,
    out: Path,
    config: TileConfig,
    *,
    data_root: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """As `tile`, each of the store's shards on some worker."""
    plan = plan_tiles(manifest, config, data_root=data_root)
    output = claim_patches(plan, out, config, overwrite=overwrite)
    if output.complete:
        log.info("%s: is finished", out)
        return out
    shards = all_shards(plan.patches, config.shard_patches)
    names = [
        f"patches {patches.start}-{patches.stop - 1} ({', '.join(plan.images_of(patches))})"
        for patches in shards
    ]
    work = partial(tile_patches, plan, out, config)
    _run_all(cluster, output, work, _one_each(names))
    return work(shard=CLOSE)


def predict_on(
    cluster: Cluster,
    checkpoint: Path,
    rows: Manifest,
    out: Path,
    config: PredictConfig,
    *,
    overwrite: bool = False,
    allow_missing: bool = False,
) -> Path:
    """As `predict`, each image on some worker."""
    model = read_checkpoint(checkpoint)
    inputs = inputs_of(model, rows, reading_of(model, config), config)
    output = claim_predictions(model, rows, out, config, inputs, overwrite=overwrite)
    if output.complete:
        log.info("%s: is finished", out)
        return out
    ids = [row.id for row in rows.rows]
    work = partial(predict, checkpoint, rows, out, config, inputs=inputs)
    _run_all(cluster, output, work, _one_each(ids), allow_missing=allow_missing)
    return work(shard=CLOSE, allow_missing=allow_missing)


def stitch_on(
    cluster: Cluster,
    predictions: Path,
    out: Path,
    config: StitchConfig,
    *,
    overwrite: bool = False,
    allow_missing: bool = False,
) -> Path:
    """As `stitch`, each image on some worker."""
    store = open_predictions(predictions)
    choose_block_px(config)
    output = claim_instances(store, out, config, overwrite=overwrite)
    if output.complete:
        log.info("%s: is finished", out)
        return out
    work = partial(stitch, predictions, out, config)
    there = _one_each(store.ids, without=store.missing)
    _run_all(cluster, output, work, there, allow_missing=allow_missing)
    return work(shard=CLOSE, allow_missing=allow_missing)


def segment_on(
    cluster: Cluster,
    checkpoint: Path,
    rows: Manifest,
    out: Path,
    config: SegmentConfig,
    *,
    overwrite: bool = False,
    allow_missing: bool = False,
) -> Path:
    """As `segment`, each image on some worker."""
    model = read_checkpoint(checkpoint)
    choose_block_px(config)
    inputs = inputs_of(model, rows, reading_of(model, config), config)
    output = claim_segmented(out, config, inputs, overwrite=overwrite)
    if output.complete:
        log.info("%s: is finished", out)
        return out
    ids = [row.id for row in rows.rows]
    work = partial(segment, checkpoint, rows, out, config, inputs=inputs)
    _run_all(cluster, output, work, _one_each(ids), allow_missing=allow_missing)
    return work(shard=CLOSE, allow_missing=allow_missing)


def _one_each(names: Iterable[str], *, without: Iterable[str] = ()) -> dict[str, Shard]:
    """A shard for each name but those left out."""
    listed = list(names)
    count = max(2, len(listed))  # the only task of one would close the output, which is held here
    shards = {name: Shard(number, count) for number, name in enumerate(listed, 1)}
    return {name: shard for name, shard in shards.items() if name not in set(without)}


def _run_all(
    cluster: Cluster,
    output: Output,
    work: Work,
    shards: Mapping[str, Shard],
    *,
    allow_missing: bool = False,
) -> None:
    """Do all shards, while nobody else starts the same run; then refuse to go on without some."""
    try:
        faults = cluster.run(work, shards)
    finally:
        output.release()
    if faults and not allow_missing:
        raise StoreError(
            f"{output.folder}: {len(faults)} of {len(shards)} failed, the others are done:"
            f" {', '.join(faults)}; the same command tries them again"
        )
