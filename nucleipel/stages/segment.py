"""Predict and stitch in one go."""

import logging
import shutil
from pathlib import Path

from nucleipel.config import PredictConfig, SegmentConfig, StitchConfig
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.io.manifest import Manifest
from nucleipel.io.output import claim_output
from nucleipel.io.predictions import open_predictions
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.stages.predict import inputs_of, predict_images, reading_of
from nucleipel.stages.stitch import choose_block_px, stitch_images

log = logging.getLogger(__name__)

MAPS = "predictions.zarr"


def segment(
    checkpoint: Path,
    rows: Manifest,
    out: Path,
    config: SegmentConfig,
    *,
    overwrite: bool = False,
    clock: Stopwatch | None = None,
) -> Path:
    """Write the nuclei of every image of a manifest into `out/<id>/`.

    All images are predicted first, then stitched, one after another. A `clock`
    that is given knows afterwards where the time went.
    """
    clock = clock or Stopwatch()
    block_px = choose_block_px(config)
    model = read_checkpoint(checkpoint)
    reading = reading_of(model, config)
    rows.require_readable(reading)
    inputs = inputs_of(model, rows, reading, config)
    output = claim_output(
        out, stage="segment", config=config.identity(), inputs=inputs, overwrite=overwrite
    )
    if output.complete:
        log.info("%s: these instances are finished", out)
        return out
    store = open_predictions(
        predict_images(model, rows, out / MAPS, config.part(PredictConfig), inputs, clock=clock)
    )
    stitch_images(store, output, config.part(StitchConfig), block_px=block_px, clock=clock)
    if not config.keep_predictions:
        shutil.rmtree(out / MAPS)
    clock.tell(log)
    return out
