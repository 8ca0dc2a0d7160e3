"""Scores of a checkpoint on annotated images, for the scripts of this folder."""

from pathlib import Path

from nucleipel.config import SegmentConfig
from nucleipel.io.manifest import Manifest
from nucleipel.metrics.scores import AP_THRESHOLDS, ImageScore
from nucleipel.stages.pipeline.evaluate import score_image
from nucleipel.stages.pipeline.segment import segment


def score_checkpoint(
    checkpoint: Path, rows: Manifest, out: Path, *, scale: str | None = None
) -> list[ImageScore]:
    """Score the nuclei that `nucleipel segment --scale` finds in the rows; they go into `out`."""
    config = SegmentConfig.model_validate({"scale": scale, "geojson": "none"})
    segment(checkpoint, rows, out, config)
    return [score_image(row, out, AP_THRESHOLDS).score for row in rows]
