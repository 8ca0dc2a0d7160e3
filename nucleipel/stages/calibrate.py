"""Choose the numbers that turn maps into nuclei, for one checkpoint, on annotated images."""

import dataclasses
import logging
import shutil
from pathlib import Path
from typing import Any

from nucleipel.config import CalibrateConfig, PredictConfig
from nucleipel.core.progress import track
from nucleipel.io.manifest import Manifest
from nucleipel.io.output import claim_output
from nucleipel.io.predictions import open_predictions
from nucleipel.io.report import write_table
from nucleipel.model.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from nucleipel.stages.judging import Judge
from nucleipel.stages.predict import predict, reading_of
from nucleipel.training.calibration import climb

log = logging.getLogger(__name__)

MAPS, TRIALS = "predictions.zarr", "calibration.csv"


def calibrate(
    checkpoint: Path, rows: Manifest, out: Path, config: CalibrateConfig, *, overwrite: bool = False
) -> Path:
    """Write `checkpoint` into `out` with the numbers of best pooled PQ on the rows inside.

    With `balance_by`, those of the best mean over the values of that column.

    Every set of numbers that was tried stands in `calibration.csv`, best first.
    """
    model = read_checkpoint(checkpoint)
    reading = reading_of(model, config)
    rows = rows.annotated().require_readable(reading)
    inputs = {"checkpoint": model.fingerprint, "images": rows.fingerprint(column=config.balance_by)}
    output = claim_output(
        out, stage="calibrate", config=config.identity(), inputs=inputs, overwrite=overwrite
    )
    if output.complete:
        log.info("%s: this calibration is finished", out)
        return out
    maps = predict(checkpoint, rows, out / MAPS, config.part(PredictConfig))
    groups = rows.grouped(config.balance_by).values() if config.balance_by else None
    score = Judge(open_predictions(maps).images, rows.rows, reading).pooled("pq", groups)
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
    mean = f" (mean by {config.balance_by})" if config.balance_by else ""
    log.info("%s: pooled PQ %.4f%s with %s", out, pq, mean, best)
    return out


def _write(model: Checkpoint, instances: dict[str, Any], out: Path) -> str:
    description = dataclasses.replace(model.description, instances=instances)
    return write_checkpoint(out, description, model.network.state_dict())
