"""Settings of `nucleipel segment`."""

from nucleipel.config.pipeline.predict import PredictConfig
from nucleipel.config.pipeline.stitch import StitchConfig


class SegmentConfig(PredictConfig, StitchConfig):
    """Settings of `nucleipel segment`: those of `predict` and of `stitch`."""

    keep_predictions: bool = False
    """Whether the probability maps stay in OUT/predictions.zarr."""
