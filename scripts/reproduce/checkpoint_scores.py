"""Scores of a checkpoint on annotated images, for the scripts of this folder."""

from pathlib import Path

from nucleipel.config import PredictConfig
from nucleipel.io.manifest import Manifest
from nucleipel.io.stores.predictions import open_predictions
from nucleipel.metrics.scores import ImageScore
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.stages.pipeline.predict import predict
from nucleipel.stages.pipeline.rule_scores import RuleScores


def score_checkpoint(checkpoint: Path, rows: Manifest, maps: Path) -> list[ImageScore]:
    """Score the rows under the checkpoint's own instance rule; its predictions go into `maps`."""
    predict(checkpoint, rows, maps, PredictConfig())
    scores = RuleScores(open_predictions(maps).images, list(rows))
    return scores.scores(read_checkpoint(checkpoint).description.instances)
