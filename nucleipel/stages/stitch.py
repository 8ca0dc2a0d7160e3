"""Turn predicted probability maps into full-size instance maps."""

import logging
from pathlib import Path

from nucleipel.config import StitchConfig
from nucleipel.core.progress import track
from nucleipel.instances.overlay import draw_overlay
from nucleipel.instances.rule import InstanceRule
from nucleipel.instances.segment import segment_instances
from nucleipel.io.instances import is_written, write_instances
from nucleipel.io.output import claim_output
from nucleipel.io.predictions import Prediction, Predictions, open_predictions

log = logging.getLogger(__name__)


def stitch(predictions: Path, out: Path, config: StitchConfig, *, overwrite: bool = False) -> Path:
    """Write the nuclei of every predicted image into `out/<id>/`."""
    store = open_predictions(predictions)
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
    stitch_images(store, out, rule=InstanceRule(**config.instances.over(store.instances)))
    output.commit(images=[prediction.id for prediction in store.images])
    return out


def stitch_images(store: Predictions, out: Path, *, rule: InstanceRule) -> None:
    """Write the nuclei of the images that an earlier go did not finish."""
    for prediction in track(store.images, "stitching"):
        if not is_written(out, prediction.id):
            _stitch_image(prediction, out, rule=rule)


def _stitch_image(prediction: Prediction, out: Path, *, rule: InstanceRule) -> None:
    instances = segment_instances(prediction.read_map(), rule=rule)
    write_instances(
        out,
        prediction.id,
        instance_map=instances.map,
        columns=instances.table.columns(mpp=prediction.mpp),
        overlay=draw_overlay(prediction.read_thumbnail(), instances.map),
        mpp=prediction.mpp,
    )
    log.info("%s: %d nuclei", prediction.id, len(instances.table))
