"""Turn predicted probability maps into full-size instance maps."""

import logging
from contextlib import nullcontext
from pathlib import Path

from nucleipel.config import StitchConfig
from nucleipel.core.progress import track
from nucleipel.errors import ConfigError
from nucleipel.instances.frame import FramedMap
from nucleipel.instances.measures import MeasuredImage, measure_nuclei
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
from nucleipel.io.slide import Slide

log = logging.getLogger(__name__)


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
    stitch_images(store, out, config, block_px=block_px)
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


def stitch_images(store: Predictions, out: Path, config: StitchConfig, *, block_px: int) -> None:
    """Write the nuclei of the images that an earlier go did not finish."""
    rule = InstanceRule(**config.instances.over(store.instances))
    for prediction in track(store.images, "stitching"):
        if not is_written(out, prediction.id):
            source = f"{store.fingerprint}/{prediction.id}"
            _stitch_image(prediction, out, config, rule=rule, block_px=block_px, source=source)
    remove_work(out)


def _stitch_image(
    prediction: Prediction,
    out: Path,
    config: StitchConfig,
    *,
    rule: InstanceRule,
    block_px: int,
    source: str,
) -> None:
    """Find the nuclei in the working frame, measure and write them in that of the result."""
    work = work_folder(out, prediction.id)
    found = segment_instances(
        prediction.open_map(),
        rule=rule,
        block_px=block_px,
        workers=config.workers,
        out=create_working_map(
            work, "map", prediction.resolution.shape, chunk_px=min(block_px, BLOCK_PX)
        ),
        scratch=work / "scratch",
        source=source,
    )
    working = prediction.resolution
    frame = working.at_level_0() if config.map_frame == "level0" else working
    drawn = FramedMap(
        found.map, nuclei=len(found.table), shape=frame.shape, ratio=working.ratio / frame.ratio
    )
    with prediction.open_image(frame) if config.intensities else nullcontext() as slide:
        image = None if slide is None else _measured(slide)
        count = write_instances(
            out,
            prediction.id,
            instance_map=drawn,
            nuclei=measure_nuclei(found.table, drawn, mpp=frame.mpp, image=image),
            overlay=draw_overlay(prediction.read_thumbnail(), drawn.at_working_size()),
            certificate={**found.certificate.to_json(), "map": drawn.to_json()},
            mpp=frame.mpp,
            as_csv=config.csv,
        )
    log.info("%s: %d nuclei", prediction.id, count)


def _measured(slide: Slide) -> MeasuredImage:
    return MeasuredImage(slide.read, slide.image.channels, stained=slide.is_stained())
