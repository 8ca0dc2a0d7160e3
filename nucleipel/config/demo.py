"""Settings of the demo."""

from typing import Annotated

from pydantic import Field

from nucleipel.config.settings import NotNegative, Positive, Settings
from nucleipel.core.choices import Device


class DemoConfig(Settings):
    """Settings of `nucleipel demo`."""

    device: Device = "auto"
    workers: NotNegative = 1
    seed: NotNegative = 0
    height_px: Positive = 1024
    width_px: Positive = 3072
    epochs: Positive = 7
    finetune_epochs: Positive = 2
    minimum_pq: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The demo fails under this PQ on the part of the slide that was held apart."""
