"""Settings of `nucleipel predict`."""

from typing import Literal

from nucleipel.config.pipeline.reading import ReadAtMppConfig
from nucleipel.config.settings import Device


class PredictConfig(ReadAtMppConfig):
    """Settings of `nucleipel predict`."""

    device: Device = "auto"
    tta: bool = False
    """Whether the eight flips and quarter turns of each window are averaged: better, 8 x slower."""
    stained_as: Literal["colour", "dye"] = "colour"
    """Whether the network sees stained slides in colour, or as the gray of their nuclear dye."""
    tissue: str = "auto"
    """Which cores are skipped as glass: auto, on images from 2048 px on; off; or a mask's path."""
