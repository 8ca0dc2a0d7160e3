"""Predict class probabilities of whole images and slides."""

import logging
import math
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import torch

from nucleipel.config import PredictConfig
from nucleipel.core.progress import track
from nucleipel.core.run_options import WHOLE_RUN, RunOptions
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.core.tissue import describe_skipped, glass_cores
from nucleipel.inference.network_input import show
from nucleipel.inference.probability_map import choose_device, place_network, predict_parts
from nucleipel.io.manifest import Manifest, Row
from nucleipel.io.records.output import Output
from nucleipel.io.slides.slide_reader import Reading
from nucleipel.io.stores.predictions import is_predicted, parts_left, shard_boxes, write_prediction
from nucleipel.io.tissue_mask import require_tissue_files, tissue_of
from nucleipel.model.checkpoint import Checkpoint, read_checkpoint
from nucleipel.stages.pipeline.build_reader import build_reading
from nucleipel.stages.pipeline.image_by_image import finish_images
from nucleipel.stages.pipeline.shared_run import SharedRun, claim

log = logging.getLogger(__name__)

THUMBNAIL_PX = 2048


def predict(
    checkpoint: Path,
    rows: Manifest,
    out: Path,
    config: PredictConfig,
    *,
    options: RunOptions = WHOLE_RUN,
    inputs: dict[str, str] | None = None,
) -> Path:
    """Write the probability maps of all images of a manifest into the store `out`.

    With a shard in `options`, only of its images: several may be at work at a
    time, and a last run without one, or with `CLOSE`, completes the store.
    `inputs` are those of `inputs_of`, where they are known.
    """
    clock = Stopwatch()
    model = read_checkpoint(checkpoint)
    reading = reading_of(model, config)
    shard = options.shard
    if shard.closes and not options.allow_missing:
        rows.require_readable(reading)
    elif shard.count and not shard.of(rows.rows):
        log.info("shard %s of %d images is empty: nothing to do", shard, len(rows.rows))
        return out
    predict_images(
        model, rows, out, config, inputs or inputs_of(model, rows, reading, config),
        options=options, clock=clock,
    )  # fmt: skip
    clock.tell(log)
    return out


def predict_images(
    model: Checkpoint,
    rows: Manifest,
    out: Path,
    config: PredictConfig,
    inputs: dict[str, str],
    *,
    options: RunOptions = WHOLE_RUN,
    clock: Stopwatch,
    then: Callable[[str], object] = lambda _: None,
) -> Path:
    """The same with a checkpoint that is read and images that are checked: `inputs_of` them.

    `then` is called with the id of each image of the shard, once its map is there.
    """
    reading = reading_of(model, config)
    by_id = {row.id: row for row in rows.rows}
    output = _claim(model, rows, out, config, inputs, options)
    if output.complete:
        log.info("%s: these predictions are finished", out)
        return out
    if reading.whole_image_px is not None:
        log.info("whole images are resized to %d px, as in training", reading.whole_image_px)
    elif reading.at_mpp is None:
        log.info("the checkpoint was trained without mpp: images are used pixel for pixel")
    if not model.description.canonical_map:
        log.warning(
            "the checkpoint's network (%s norm) sees whole windows: maps depend on how images are"
            " cut, and nuclei where windows meet may have seams",
            model.description.network.norm,
        )
    device = choose_device(config.device)
    place_network(model.network, device)
    finish_images(
        output,
        list(by_id),
        lambda name: _predict_image(
            model, by_id[name], out, reading, config, device=device, clock=clock
        ),
        done=lambda name: is_predicted(out, name),
        options=options,
        then=then,
        instances=model.description.instances,
    )
    return out


def share_predict(
    checkpoint: Path,
    rows: Manifest,
    out: Path,
    config: PredictConfig,
    options: RunOptions = WHOLE_RUN,
) -> SharedRun:
    """Take the store `out` for workers that each `predict` images of the manifest."""
    model = read_checkpoint(checkpoint)
    inputs = inputs_of(model, rows, reading_of(model, config), config)
    return SharedRun(
        _claim(model, rows, out, config, inputs, options),
        partial(predict, checkpoint, rows, out, config, inputs=inputs),
        [row.id for row in rows.rows],
        options,
    )


def _claim(
    model: Checkpoint,
    rows: Manifest,
    out: Path,
    config: PredictConfig,
    inputs: dict[str, str],
    options: RunOptions,
) -> Output:
    images, instances = [row.id for row in rows.rows], model.description.instances
    plan = {"images": images, "instances": instances}
    return claim("predict", out, config, inputs, options, plan=plan)


def reading_of(model: Checkpoint, config: PredictConfig) -> Reading:
    """How images are read for a checkpoint: at its mpp, or at `config.at_mpp` where given."""
    description = model.description
    at_mpp = description.mpp if config.at_mpp is None else config.at_mpp
    return build_reading(
        config,
        at_mpp=at_mpp,
        channels=description.network.in_channels,
        whole_image_px=description.grid.whole_image_px,
    )


def inputs_of(
    model: Checkpoint, rows: Manifest, reading: Reading, config: PredictConfig
) -> dict[str, str]:
    """Hashes of all that goes into predictions: the checkpoint, the images, the tissue masks.

    Raises
    ------
    ImageError
        If a tissue mask is missing, or does not fit its image.
    """
    masks = require_tissue_files(config.tissue, [row.id for row in rows.rows])
    for row in rows.rows if masks else ():
        with reading.open(row.image, mpp=row.mpp) as slide:
            tissue_of(slide, config.tissue, image_id=row.id)
    return {"checkpoint": model.fingerprint, "images": rows.fingerprint(), **masks}


def _predict_image(
    model: Checkpoint,
    row: Row,
    out: Path,
    reading: Reading,
    config: PredictConfig,
    *,
    device: torch.device,
    clock: Stopwatch,
) -> None:
    description = model.description
    channels = description.network.in_channels
    with reading.open(row.image, mpp=row.mpp) as slide:
        log.info("%s: %s, %s", row.id, slide.resolution.describe(), slide.image.photometric)
        network, grid = show(model, slide, stained_as=config.stained_as)
        if network is not model.network:
            log.info("%s: stained, shown as its nuclear dye", row.id)
        with clock.phase("read"):
            intensity = slide.intensity_range()
            tissue = tissue_of(slide, config.tissue, image_id=row.id)
            thumbnail = slide.thumbnail(THUMBNAIL_PX)
        cut = {"core_px": grid.core_px, "halo_px": grid.halo_px}
        skipped = glass_cores(tissue, slide.shape, **cut)
        told = describe_skipped(tissue, skipped, slide.shape, **cut, mpp=slide.mpp)
        if tissue is not None:
            log.info("%s: %g %% of the image skipped as glass", row.id, told["skipped_percent"])
        boxes = shard_boxes(slide.shape, core_px=grid.core_px)
        parts = parts_left(out, row.id, boxes, core_px=grid.core_px)
        maps = predict_parts(
            network, slide, parts,
            intensity=intensity,
            grid=grid,
            channels=channels,
            maps=len(description.maps),
            device=device,
            flips=config.tta,
            skipped=skipped,
            clock=clock,
        )  # fmt: skip
        with closing(maps):
            write_prediction(
                out,
                row.id,
                track(maps, f"predicting {row.id}", total=len(boxes), done=len(boxes) - len(parts)),
                image=row.image,
                resolution=slide.resolution,
                channel=slide.channel,
                maps=len(description.maps),
                core_px=grid.core_px,
                thumbnail=thumbnail,
                tissue=told,
                canonical_map=description.canonical_map,
                clock=clock,
            )
        predicted = sum(math.prod(part.shape) for part in parts)
        clock.note_image(row.id, pixels=predicted, mpp=slide.mpp)
