"""Choose the numbers that turn maps into nuclei, for one checkpoint, on annotated images."""

import dataclasses
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.config import CalibrateConfig, PredictConfig
from nucleipel.core.geometry import Box
from nucleipel.core.progress import track
from nucleipel.instances.rule import InstanceRule
from nucleipel.instances.segment import segment_instances
from nucleipel.io.manifest import Manifest, Row
from nucleipel.io.output import claim_output
from nucleipel.io.predictions import Prediction, open_predictions
from nucleipel.io.reading import Reading
from nucleipel.io.report import write_table
from nucleipel.io.slide import open_annotation
from nucleipel.metrics.scores import ImageScore, pool
from nucleipel.model.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from nucleipel.stages.predict import predict, reading_of
from nucleipel.training.calibration import Numbers, climb

log = logging.getLogger(__name__)

MAPS, TRIALS = "predictions.zarr", "calibration.csv"


def calibrate(
    checkpoint: Path, rows: Manifest, out: Path, config: CalibrateConfig, *, overwrite: bool = False
) -> Path:
    """Write `checkpoint` into `out` with the numbers of best pooled PQ on the rows inside.

    Every set of numbers that was tried stands in `calibration.csv`, best first.
    """
    model = read_checkpoint(checkpoint)
    reading = reading_of(model, config)
    rows = rows.annotated().require_readable(reading)
    inputs = {"checkpoint": model.fingerprint, "images": rows.fingerprint()}
    output = claim_output(
        out, stage="calibrate", config=config.identity(), inputs=inputs, overwrite=overwrite
    )
    if output.complete:
        log.info("%s: this calibration is finished", out)
        return out
    maps = predict(checkpoint, rows, out / MAPS, config.part(PredictConfig))
    score = _scorer(open_predictions(maps).images, rows, reading)
    trials = list(
        track(
            climb(model.description.instances, config.candidates(), score, rounds=config.rounds),
            "calibrating",
        )
    )
    trials.sort(key=lambda trial: -trial[1])
    best, pq = trials[0]
    write_table(out / TRIALS, [{"pq": f"{pq:.5f}", **numbers} for numbers, pq in trials])
    sha256 = _write(model, best, out)
    shutil.rmtree(maps)
    output.commit(checkpoint=sha256, instances=best, pq=pq)
    log.info("%s: pooled PQ %.4f with %s", out, pq, best)
    return out


def _scorer(
    predictions: tuple[Prediction, ...], rows: Manifest, reading: Reading
) -> Callable[[Numbers], float]:
    images = [
        (prediction.read_map(), _read_annotation(row, reading))
        for prediction, row in zip(predictions, rows.rows, strict=True)
    ]

    def score(numbers: Numbers) -> float:
        rule = InstanceRule(**numbers)
        return pool(
            [
                ImageScore.of(annotation, segment_instances(probabilities, rule=rule).map)
                for probabilities, annotation in images
            ]
        )["pq"]

    return score


def _read_annotation(row: Row, reading: Reading) -> npt.NDArray[np.integer]:
    """A row's instance map in the frame that its image was predicted in."""
    with (
        reading.open(row.image, mpp=row.mpp) as slide,
        open_annotation(row.require_label(), resolution=slide.resolution) as annotation,
    ):
        return annotation.read(Box.of_shape(annotation.shape))


def _write(model: Checkpoint, instances: dict[str, Any], out: Path) -> str:
    description = dataclasses.replace(model.description, instances=instances)
    return write_checkpoint(out, description, model.network.state_dict())
