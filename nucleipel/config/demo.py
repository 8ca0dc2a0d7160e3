"""Settings of the demo."""

from typing import Annotated

from pydantic import Field

from nucleipel.config.settings import NotNegative, Positive, Settings
from nucleipel.core.choices import Device


class DemoConfig(Settings):
    """Settings of `nucleipel demo`."""

    device: Device = "auto"
    """Where the network runs; auto takes a GPU where there is one."""
    workers: NotNegative = 1
    """Processes that prepare samples; 0 for none."""
    seed: NotNegative = 0
    """Seed of all that is drawn at random."""
    height_px: Positive = 1024
    """Height of the generated slide."""
    width_px: Positive = 3072
    """Width of the generated slide."""
    epochs: Positive = 7
    """Epochs of the training."""
    finetune_epochs: Positive = 2
    """Epochs of fine-tuning on patches."""
    minimum_pq: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The demo fails under this PQ on the part of the slide that was held apart."""
