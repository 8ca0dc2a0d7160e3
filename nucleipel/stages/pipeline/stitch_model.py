"""Stitch with a model of another program: ONNX, or a bioimage.io package."""

from pathlib import Path

from nucleipel.config.pipeline.stitch_model import StitchModelConfig
from nucleipel.core.run_options import WHOLE_RUN, RunOptions
from nucleipel.io.manifest import Manifest
from nucleipel.model.foreign_model import ModelUse, read_model
from nucleipel.stages.pipeline.segment import segment

MODEL_USE = (
    "channels", "output", "activation", "mean", "std", "stride_px", "core_px",
    "receptive_radius_px", "accept_seams",
)  # fmt: skip
"""Settings that say how the model is used."""


def stitch_model(
    checkpoint: Path,
    rows: Manifest,
    out: Path,
    config: StitchModelConfig,
    *,
    options: RunOptions = WHOLE_RUN,
) -> Path:
    """Predict images with the model, and write their nuclei as `segment` does.

    Raises
    ------
    CheckpointError
        If the model cannot be read, or sees the whole window and that is not accepted.
    """
    model = read_model(checkpoint, ModelUse(**{name: getattr(config, name) for name in MODEL_USE}))
    return segment(model, rows, out, config, options=options)
