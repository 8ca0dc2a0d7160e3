"""Settings of `nucleipel predict`."""

from typing import Annotated

from pydantic import BeforeValidator

from nucleipel.config.pipeline.read_images import ReadAtMppConfig
from nucleipel.config.settings import Precision
from nucleipel.core.choices import OLD_WORDS, Device, StainedAs


def _word_of_today(word: object) -> object:
    """The word of an older file of settings, as it is now."""
    return OLD_WORDS["stained_as"].get(word, word) if isinstance(word, str) else word


class PredictConfig(ReadAtMppConfig):
    """Settings of `nucleipel predict`."""

    device: Device = "auto"
    """Where the network runs; auto takes a GPU where there is one."""
    precision: Precision = "auto"
    """Numbers that the network multiplies: auto is float32 on CPUs and float16 on GPUs; bfloat16 is
    2 to 3 x faster on CPUs with AMX, far slower on those without, and moves a few gray levels."""
    tta: bool = False
    """Whether the eight flips and quarter turns of each window are averaged: better, 8 x slower."""
    stained_as: Annotated[StainedAs, BeforeValidator(_word_of_today)] = "color"
    """Whether the network sees stained slides in color, or as the gray of their nuclear dye."""
    tissue: str = "auto"
    """Which cores are skipped as glass: auto, on images from 2048 px on; off; or a mask's path."""
