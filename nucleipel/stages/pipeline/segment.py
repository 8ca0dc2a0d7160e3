"""Predict and stitch in one go."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import TYPE_CHECKING, Any

from nucleipel.config import PredictConfig, SegmentConfig, StitchConfig
from nucleipel.core.garbage import collector_paused
from nucleipel.core.run_options import WHOLE_RUN, RunOptions
from nucleipel.core.shard import Part
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.io.manifest import Manifest
from nucleipel.io.records.output import is_finished
from nucleipel.io.stores.predictions import open_predictions
from nucleipel.stages.pipeline.run_parts import SharedRun, Step, claim
from nucleipel.stages.pipeline.stitch import choose_block_px, parts_of_images, stitch_images
from nucleipel.stages.pipeline.stitch_process import second_process, stitching_in_process

if TYPE_CHECKING:
    from nucleipel.model.checkpoint import Checkpoint

log = logging.getLogger(__name__)

MAPS = "predictions.zarr"


def segment(
    checkpoint: "Path | Checkpoint",
    rows: Manifest,
    out: Path,
    config: SegmentConfig,
    *,
    options: RunOptions = WHOLE_RUN,
    inputs: dict[str, str] | None = None,
    clock: Stopwatch | None = None,
) -> Path:
    """Write the nuclei of every image of a manifest into `out/<id>/`.

    While an image is predicted, those before it are stitched, in a second
    process. `options` has no shard, or is to `CLOSE`; `inputs` are as `predict`
    has them. A `clock` that is given knows afterwards where the time went.
    """
    clock = clock or Stopwatch()
    # in a folder that is finished there is nothing to do, if it is the same run's
    there = is_finished(out, stage="segment") and not options.overwrite
    with nullcontext() if there else second_process(shows_progress=len(rows) == 1) as process:
        _segment(checkpoint, rows, out, config, process, options, inputs, clock)
    return out


def _segment(
    checkpoint: "Path | Checkpoint",
    rows: Manifest,
    out: Path,
    config: SegmentConfig,
    process: "Popen[str] | None",
    options: RunOptions,
    inputs: dict[str, str] | None,
    clock: Stopwatch,
) -> None:
    # they import torch, while the second process prepares itself
    with collector_paused():
        from nucleipel.model.foreign_model import read_model
        from nucleipel.stages.pipeline.predict import inputs_of, predict_images, slide_reader_for

    block_px = choose_block_px(config)
    model = read_model(checkpoint)
    reader = slide_reader_for(model, config)
    if not options.allow_missing:
        rows.require_readable(reader)
    inputs = inputs or inputs_of(model, rows, reader, config)
    output = claim("segment", out, config, inputs, options)
    if output.complete:
        log.info("%s: these instances are finished", out)
        return
    part = replace(options, overwrite=False)
    named: dict[str, Any] = {"block_px": block_px, "clock": clock}
    maps, predicting, stitching = out / MAPS, config.part(PredictConfig), config.part(StitchConfig)
    mine = options.shard.of([row.id for row in rows])
    with stitching_in_process(process, maps, mine, output, stitching, **named) as predicted:
        predict_images(
            model, rows, maps, predicting, inputs, options=part, then=predicted, clock=clock
        )
    stitch_images(open_predictions(maps), output, stitching, **named, options=part)
    # while some are missing, those of the others would have to be made again
    if output.complete and not config.keep_predictions:
        shutil.rmtree(out / MAPS)
    clock.log_summary(log)


def share_segment(
    checkpoint: Path,
    rows: Manifest,
    out: Path,
    config: SegmentConfig,
    options: RunOptions = WHOLE_RUN,
) -> SharedRun:
    """Take the folder `out` for workers that each predict, then stitch, parts of the images."""
    from nucleipel.model.foreign_model import read_model
    from nucleipel.stages.pipeline.predict import inputs_of, share_predict, slide_reader_for

    model = read_model(checkpoint)
    block_px = choose_block_px(config)
    inputs = inputs_of(model, rows, slide_reader_for(model, config), config)
    output = claim("segment", out, config, inputs, options)
    close = partial(segment, checkpoint, rows, out, config, inputs=inputs)

    def steps() -> Iterator[Step]:
        maps = share_predict(
            checkpoint, rows, out / MAPS, config.part(PredictConfig), inputs=inputs
        )
        try:
            yield from () if maps.output.complete else maps.steps
        finally:
            maps.output.release()
        parts = parts_of_images(open_predictions(out / MAPS, unfinished=True), block_px)
        yield Step("stitching", partial(stitch_segmented, out, config, inputs, parts), parts)

    return SharedRun(output, steps(), close, options)


def stitch_segmented(
    out: Path,
    config: SegmentConfig,
    inputs: dict[str, str],
    parts: Sequence[Part],
    *,
    options: RunOptions,
) -> Path:
    """Write the nuclei of the images of a shard whose maps other processes wrote."""
    output = claim("segment", out, config, inputs, options)
    ids = {part.image for part in options.shard.of(parts)}
    stitch_images(
        open_predictions(out / MAPS, unfinished=True, only=ids),
        output,
        config.part(StitchConfig),
        block_px=choose_block_px(config),
        parts=parts,
        options=options,
        clock=Stopwatch(),
    )
    return out
