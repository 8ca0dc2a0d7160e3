"""Settings of `nucleipel predict`."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

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
    scale: Annotated[float, Field(gt=0, le=2)] | Literal["auto"] | None = None
    """Working pixels along a pixel of level 0, up to 2, for a checkpoint without mpp; auto takes
    what suits each image, .25 to 2. Without it 1, or auto for the packaged checkpoint."""
    stained_as: Annotated[StainedAs, BeforeValidator(_word_of_today)] = "auto"
    """Whether the network sees stained slides in color, or as the gray of their nuclear dye; auto
    is color, or what suits the image where the scale is chosen, too."""
    tissue: str = "auto"
    """Which cores are skipped as glass: auto, on images from 2048 px on; off; or a mask's path."""

    @model_validator(mode="after")
    def _one_resolution(self) -> Self:
        if self.scale is not None and self.at_mpp is not None:
            raise ValueError(
                f"scale {self.scale} and at_mpp {self.at_mpp:g}: leave one of them out"
            )
        return self
