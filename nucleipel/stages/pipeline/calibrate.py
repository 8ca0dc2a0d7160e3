"""Choose the numbers that turn maps into nuclei, for one checkpoint, on annotated images."""

import dataclasses
import logging
import shutil
from pathlib import Path
from typing import Any

from nucleipel.config import CalibrateConfig, PredictConfig
from nucleipel.core.progress import track
from nucleipel.errors import ManifestError
from nucleipel.io.csv_table import write_table
from nucleipel.io.manifest import Manifest
from nucleipel.io.records.output import claim_output
from nucleipel.io.slides.slide_reader import SlideReader
from nucleipel.io.stores.predictions import open_predictions
from nucleipel.metrics.scores import pool
from nucleipel.model.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from nucleipel.stages.pipeline.predict import predict, slide_reader_for
from nucleipel.stages.pipeline.rule_scores import RuleScores
from nucleipel.training.coordinate_ascent import Numbers, coordinate_ascent

log = logging.getLogger(__name__)

MAPS, TRIALS = "predictions.zarr", "calibration.csv"


def calibrate(
    checkpoint: Path, rows: Manifest, out: Path, config: CalibrateConfig, *, overwrite: bool = False
) -> Path:
    """Write `checkpoint` into `out` with the numbers of best pooled PQ on the rows inside.

    With `measures`, those of the best mean of these; with `balance_by`, of the
    best mean over the values of that column. Of images that were annotated in
    regions, only these are predicted and scored. The numbers then hold for all images; with
    `stained` they are chosen on images of stained tissue, and hold for these alone.

    Every set of numbers that was tried stands in `calibration.csv`, best first, with what was
    sought (`score`) and the pooled Dice, AJI and PQ.
    """
    model = read_checkpoint(checkpoint)
    reader = slide_reader_for(model, config)
    rows = rows.annotated().require_readable(reader)
    if config.stained:
        rows = _stained_only(rows, reader)
    inputs = {"checkpoint": model.fingerprint, "images": rows.fingerprint(column=config.balance_by)}
    output = claim_output(
        out, stage="calibrate", config=config.identity(), inputs=inputs, overwrite=overwrite
    )
    if output.complete:
        log.info("%s: this calibration is finished", out)
        return out
    predicted = config.part(PredictConfig)
    maps = predict(checkpoint, rows, out / MAPS, predicted, within_regions=True)
    groups = rows.grouped(config.balance_by).values() if config.balance_by else None
    rule_scores = RuleScores(open_predictions(maps).images, list(rows))
    score = rule_scores.pooled(*config.measures, groups=groups)
    start = model.description.instances_of(stained=config.stained)
    ascent = coordinate_ascent(start, config.candidates(), score, rounds=config.rounds)
    trials = list(track(ascent, "calibrating"))
    trials.sort(key=lambda trial: -trial[1])
    write_table(out / TRIALS, [_line(rule_scores, numbers, found) for numbers, found in trials])
    best, top = trials[0]
    sha256 = _write(model, best, out, stained=config.stained)
    shutil.rmtree(maps)
    output.commit(checkpoint=sha256, instances=best, score=top)
    sought = ", ".join(measure.upper() for measure in config.measures)
    mean = f" (mean by {config.balance_by})" if config.balance_by else ""
    log.info("%s: pooled %s %.4f%s with %s", out, sought, top, mean, best)
    return out


def _line(rule_scores: RuleScores, numbers: Numbers, score: float) -> dict[str, Any]:
    pooled = pool(rule_scores.scores(numbers))
    measures = {"score": score, **{measure: pooled[measure] for measure in ("dice", "aji", "pq")}}
    return {**{name: f"{value:.5f}" for name, value in measures.items()}, **numbers}


def _stained_only(rows: Manifest, reader: SlideReader) -> Manifest:
    """The rows of images of stained tissue."""
    kept = []
    for row in rows:
        with row.open(reader) as slide:
            kept += [row] if slide.is_stained() else []
    if not kept:
        raise ManifestError(
            f"{rows.path}: none of {len(rows)} images is of stained tissue, in color on bright"
            " ground; leave out stained=true"
        )
    return Manifest(rows.path, tuple(kept))


def _write(model: Checkpoint, numbers: Numbers, out: Path, *, stained: bool) -> str:
    """Write the checkpoint with numbers for stained tissue alone, or for all images."""
    common = model.description.instances if stained else numbers
    others = {name: number for name, number in numbers.items() if number != common.get(name)}
    description = dataclasses.replace(model.description, instances=common, stained_instances=others)
    return write_checkpoint(out, description, model.network.state_dict())
