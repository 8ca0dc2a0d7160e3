"""Predict and stitch in one go."""

import logging
import shutil
from pathlib import Path
from typing import Any

from nucleipel.config import PredictConfig, SegmentConfig, StitchConfig
from nucleipel.core.shard import WHOLE, Shard
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.io.manifest import Manifest
from nucleipel.io.records.output import Output, claim_output
from nucleipel.io.stores.predictions import open_predictions
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.stages.pipeline.concurrent_stitch import stitching_beside
from nucleipel.stages.pipeline.predict import inputs_of, predict_images, reading_of
from nucleipel.stages.pipeline.stitch import choose_block_px, stitch_images

log = logging.getLogger(__name__)

MAPS = "predictions.zarr"


def segment(
    checkpoint: Path,
    rows: Manifest,
    out: Path,
    config: SegmentConfig,
    *,
    overwrite: bool = False,
    shard: Shard = WHOLE,
    allow_missing: bool = False,
    inputs: dict[str, str] | None = None,
    clock: Stopwatch | None = None,
) -> Path:
    """Write the nuclei of every image of a manifest into `out/<id>/`.

    While an image is predicted, those before it are stitched, in a second
    process. `shard`, `allow_missing` and `inputs` are as `predict` has them. A
    `clock` that is given knows afterwards where the time went.
    """
    clock = clock or Stopwatch()
    block_px = choose_block_px(config)
    model = read_checkpoint(checkpoint)
    reading = reading_of(model, config)
    if shard.closes and not allow_missing:
        rows.require_readable(reading)
    inputs = inputs or inputs_of(model, rows, reading, config)
    output = claim_segmented(out, config, inputs, overwrite=overwrite, shard=shard)
    if output.complete:
        log.info("%s: these instances are finished", out)
        return out
    part: dict[str, Any] = {"shard": shard, "allow_missing": allow_missing, "clock": clock}
    how: dict[str, Any] = {"block_px": block_px, "clock": clock}
    maps, predicting, stitching = out / MAPS, config.part(PredictConfig), config.part(StitchConfig)
    mine = shard.of([row.id for row in rows.rows])
    with stitching_beside(maps, mine, output, stitching, **how) as predicted:
        predict_images(model, rows, maps, predicting, inputs, then=predicted, **part)
    store = open_predictions(maps, unfinished=not shard.closes)
    stitch_images(store, output, stitching, **how, shard=shard, allow_missing=allow_missing)
    # while some are missing, those of the others would have to be made again
    if output.complete and not config.keep_predictions:
        shutil.rmtree(out / MAPS)
    clock.tell(log)
    return out


def claim_segmented(
    out: Path,
    config: SegmentConfig,
    inputs: dict[str, str],
    *,
    overwrite: bool = False,
    shard: Shard = WHOLE,
) -> Output:
    """Take the folder `out` for these instances."""
    return claim_output(
        out,
        stage="segment",
        config=config.identity(),
        inputs=inputs,
        overwrite=overwrite,
        shard=shard,
    )
