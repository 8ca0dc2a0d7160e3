"""Turn predicted probability maps into full-size instance maps."""

import logging
from pathlib import Path

from nucleipel.config import StitchConfig
from nucleipel.core.shard import WHOLE, Shard
from nucleipel.errors import ConfigError
from nucleipel.instances.memory import block_px_within
from nucleipel.instances.overlay import draw_overlay
from nucleipel.instances.rule import InstanceRule
from nucleipel.instances.segment import BLOCK_PX, segment_instances
from nucleipel.io.instances import (
    create_working_map,
    is_written,
    work_folder,
    write_instances,
)
from nucleipel.io.output import Output, claim_output
from nucleipel.io.predictions import Prediction, Predictions, open_predictions
from nucleipel.stages.images import finish_images

log = logging.getLogger(__name__)

ROWS_AT_A_TIME = 2**16


def stitch(
    predictions: Path,
    out: Path,
    config: StitchConfig,
    *,
    overwrite: bool = False,
    shard: Shard = WHOLE,
    allow_missing: bool = False,
) -> Path:
    """Write the nuclei of every predicted image into `out/<id>/`.

    With a `shard`, only of its images, whose predictions need not be closed
    yet; a last run without one, or with `CLOSE`, completes the folder.
    """
    store = open_predictions(predictions, unfinished=not shard.closes)
    block_px = choose_block_px(config)
    if shard.count and not shard.of(store.ids):
        log.info("shard %s of %d images is empty: nothing to do", shard, len(store.ids))
        return out
    output = claim_output(
        out,
        stage="stitch",
        config=config.identity(),
        inputs={"predictions": store.fingerprint},
        overwrite=overwrite,
        shard=shard,
    )
    if output.complete:
        log.info("%s: these instances are finished", out)
        return out
    rule = InstanceRule(**config.instances.over(store.instances))
    stitch_images(
        store,
        output,
        rule=rule,
        block_px=block_px,
        workers=config.workers,
        shard=shard,
        allow_missing=allow_missing or bool(store.missing),
    )
    return out


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
        return block_px_within(config.max_ram_gb * 2**30, config.workers)
    except ValueError as error:
        raise ConfigError(f"max_ram_gb: {error}; allow more, or set fewer workers") from error


def stitch_images(
    store: Predictions,
    output: Output,
    *,
    rule: InstanceRule,
    block_px: int,
    workers: int,
    shard: Shard = WHOLE,
    allow_missing: bool = False,
) -> None:
    """Write the nuclei of a shard's images that an earlier go did not finish; close, if it is to.

    Images that the predictions were closed without are missing here, too.
    """
    out = output.folder

    def work(image_id: str) -> None:
        _stitch_image(
            store.image(image_id),
            out,
            rule=rule,
            block_px=block_px,
            workers=workers,
            source=f"{store.fingerprint}/{image_id}",
        )

    finish_images(
        output,
        store.ids,
        work,
        done=lambda image_id: is_written(out, image_id),
        shard=shard,
        allow_missing=allow_missing,
    )


def _stitch_image(
    prediction: Prediction,
    out: Path,
    *,
    rule: InstanceRule,
    block_px: int,
    workers: int,
    source: str,
) -> None:
    probabilities = prediction.open_map()
    work = work_folder(out, prediction.id)
    found = segment_instances(
        probabilities,
        rule=rule,
        block_px=block_px,
        workers=workers,
        out=create_working_map(work, "map", prediction.shape, chunk_px=min(block_px, BLOCK_PX)),
        scratch=work / "scratch",
        source=source,
    )
    write_instances(
        out,
        prediction.id,
        instance_map=found.map,
        columns=(part.columns(mpp=prediction.mpp) for part in found.table.parts(ROWS_AT_A_TIME)),
        overlay=draw_overlay(prediction.read_thumbnail(), found.map),
        certificate=found.certificate.to_json(),
        mpp=prediction.mpp,
    )
    log.info("%s: %d nuclei", prediction.id, len(found.table))
