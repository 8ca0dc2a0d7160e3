"""Turn predicted probability maps into full-size instance maps."""

import logging
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from nucleipel.config import StitchConfig
from nucleipel.core.run_options import WHOLE_RUN, RunOptions
from nucleipel.core.shard import WHOLE, Part, parts_of
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.errors import ConfigError, StoreError
from nucleipel.instances.block_memory import block_px_within
from nucleipel.instances.instance_rule import InstanceRule
from nucleipel.instances.segment_map import BLOCK_PX
from nucleipel.io.nuclei.image_output import is_written
from nucleipel.io.records.output import Output
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import Slide
from nucleipel.io.stores.predictions import Prediction, Predictions, open_predictions
from nucleipel.stages.pipeline.image_by_image import ImageWork, finish_images
from nucleipel.stages.pipeline.run_parts import SharedRun, Step, claim
from nucleipel.stages.pipeline.share_parts import work_together

SHARED_FROM_PX, MOST_PARTS = 2 * 4096**2, 64
"""From so many pixels on, an image is stitched by several processes, if there are; at most so many.
"""

log = logging.getLogger(__name__)


def stitch(
    predictions: Path,
    out: Path,
    config: StitchConfig,
    *,
    options: RunOptions = WHOLE_RUN,
    parts: Sequence[Part] | None = None,
) -> Path:
    """Write the nuclei of every predicted image into `out/<id>/`.

    With a shard in `options`, only of its images, whose predictions need not be closed
    yet; a last run without one, or with `CLOSE`, completes the folder.
    """
    clock, shard = Stopwatch(), options.shard
    only = None if parts is None else [part.image for part in shard.of(parts)]
    store = open_predictions(predictions, unfinished=not shard.closes, only=only)
    if config.intensities and shard.closes and not options.allow_missing:
        store.require_images()
    block_px = choose_block_px(config)
    parts = parts or parts_of_images(store, block_px)
    if shard.count and not shard.of(parts):
        log.info("shard %s of %d images is empty: nothing to do", shard, len(parts))
        return out
    output = _claim(store, out, config, options)
    if output.complete:
        log.info("%s: these instances are finished", out)
        return out
    stitch_images(
        store, output, config, block_px=block_px, parts=parts, options=options, clock=clock
    )
    clock.log_summary(log)
    return out


def share_stitch(
    predictions: Path, out: Path, config: StitchConfig, options: RunOptions = WHOLE_RUN
) -> SharedRun:
    """Take the folder `out` for workers that each `stitch` images of the predictions."""
    store = open_predictions(predictions)
    block_px = choose_block_px(config)
    output = _claim(store, out, config, options)
    missing = set(store.missing)
    parts = [part for part in parts_of_images(store, block_px) if part.image not in missing]
    work = partial(stitch, predictions, out, config)
    return SharedRun(output, [Step("stitching", partial(work, parts=parts), parts)], work, options)


def _claim(store: Predictions, out: Path, config: StitchConfig, options: RunOptions) -> Output:
    return claim("stitch", out, config, {"predictions": store.fingerprint}, options)


def choose_block_px(config: StitchConfig) -> int:
    """The side of the blocks that the memory allows.

    Raises
    ------
    ConfigError
        If it allows none.
    """
    if config.max_ram_gb is None:
        return BLOCK_PX
    try:
        return block_px_within(config.max_ram_gb * 2**30, config.threads)
    except ValueError as error:
        raise ConfigError(f"max_ram_gb: {error}; allow more, or set fewer threads") from error


def stitch_images(
    store: Predictions,
    output: Output,
    config: StitchConfig,
    *,
    block_px: int,
    parts: Sequence[Part] | None = None,
    options: RunOptions = WHOLE_RUN,
    clock: Stopwatch,
) -> None:
    """Write the nuclei of a shard's images that an earlier go did not finish; close, if it is to.

    Images that the predictions were closed without are missing here, too.
    """
    finish_images(
        output,
        parts or parts_of_images(store, block_px),
        lambda work: stitch_image(
            store,
            work,
            output,
            config,
            block_px=block_px,
            shared=options.shard != WHOLE,
            clock=clock,
        ),
        done=lambda image_id: is_written(output.folder, image_id),
        options=options,
        without=store.missing if options.shard.closes else (),
    )


def stitch_image(
    store: Predictions,
    work: ImageWork,
    output: Output,
    config: StitchConfig,
    *,
    block_px: int,
    shared: bool = False,
    clock: Stopwatch,
) -> None:
    """Write the nuclei of one image; where it is `shared`, only what this process has of it.

    Raises
    ------
    NucleipelError
        If it is not predicted, or its map, or the image, cannot be read.
    """
    # late: `segment` has a second process for it
    from nucleipel.stages.pipeline.stitch_steps import ImageStitch, do_all, frame_of

    prediction = store.image(work.image)
    with _opened(prediction, frame_of(prediction.resolution, config), config) as slide:
        image = ImageStitch(
            prediction, slide, output, config,
            rule=InstanceRule(**config.instances.over(store.instances_of(prediction))),
            block_px=block_px,
            source=f"{store.fingerprint}/{work.image}",
            clock=clock,
        )  # fmt: skip
        if not shared or any(part.count == 1 for part in work.parts):
            do_all(image.steps)
        else:
            rows = _rows_of(work.parts, image.rows)
            written = partial(is_written, output.folder, work.image)
            work_together(image.steps, output.folder, work.image, rows, is_complete=written)
            return
    working = prediction.resolution
    clock.note_image(prediction.id, pixels=math.prod(working.shape), mpp=working.mpp)
    log.info("%s: %d nuclei", prediction.id, image.nuclei)
    if prediction.canonical_map is False:  # of another program's map nobody knows
        log.warning(
            "%s: its map depends on how it was cut into windows: nuclei there may have seams",
            prediction.id,
        )


def parts_of_images(store: Predictions, block_px: int) -> list[Part]:
    """The parts of all images that different processes may stitch: some rows of blocks each."""
    counts = dict.fromkeys(store.ids, 1)
    counts |= {image.id: parts_of_shape(image.resolution.shape, block_px) for image in store.images}
    return parts_of(counts)


def parts_of_shape(shape: tuple[int, int], block_px: int) -> int:
    """Number of parts in which an image of shape (height, width) is stitched."""
    height, width = shape
    return min(-(-height // block_px), MOST_PARTS) if height * width >= SHARED_FROM_PX else 1


def _rows_of(parts: Sequence[Part], rows: int) -> set[int]:
    """The rows of blocks of some parts."""
    return {row for row in range(rows) if any(row * p.count // rows == p.number - 1 for p in parts)}


def _opened(
    prediction: Prediction, frame: Resolution, config: StitchConfig
) -> AbstractContextManager[Slide | None]:
    """The image, without which only the pictures of the report are missing."""
    try:
        return prediction.open_image(frame)
    except StoreError:
        if config.intensities:
            raise
        log.info("%s: cannot be read again; the report shows no nuclei", prediction.image)
        return nullcontext()
