"""Turn predicted probability maps into full-size instance maps."""

import logging
from pathlib import Path

from nucleipel.config import StitchConfig
from nucleipel.core.progress import track
from nucleipel.errors import ConfigError
from nucleipel.instances.memory import block_px_within
from nucleipel.instances.overlay import draw_overlay
from nucleipel.instances.rule import InstanceRule
from nucleipel.instances.segment import BLOCK_PX, segment_instances
from nucleipel.io.instances import (
    create_working_map,
    is_written,
    remove_work,
    work_folder,
    write_instances,
)
from nucleipel.io.output import claim_output
from nucleipel.io.predictions import Prediction, Predictions, open_predictions

log = logging.getLogger(__name__)

ROWS_AT_A_TIME = 2**16


def stitch(predictions: Path, out: Path, config: StitchConfig, *, overwrite: bool = False) -> Path:
    """Write the nuclei of every predicted image into `out/<id>/`."""
    store = open_predictions(predictions)
    block_px = choose_block_px(config)
    output = claim_output(
        out,
        stage="stitch",
        config=config.identity(),
        inputs={"predictions": store.fingerprint},
        overwrite=overwrite,
    )
    if output.complete:
        log.info("%s: these instances are finished", out)
        return out
    rule = InstanceRule(**config.instances.over(store.instances))
    stitch_images(store, out, rule=rule, block_px=block_px, workers=config.workers)
    output.commit(images=[prediction.id for prediction in store.images])
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
    store: Predictions, out: Path, *, rule: InstanceRule, block_px: int, workers: int
) -> None:
    """Write the nuclei of the images that an earlier go did not finish."""
    for prediction in track(store.images, "stitching"):
        if not is_written(out, prediction.id):
            source = f"{store.fingerprint}/{prediction.id}"
            _stitch_image(
                prediction, out, rule=rule, block_px=block_px, workers=workers, source=source
            )
    remove_work(out)


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
        certificate={**found.certificate.to_json(), "tissue": dict(prediction.tissue)},
        mpp=prediction.mpp,
    )
    log.info("%s: %d nuclei", prediction.id, len(found.table))
