"""Settings of `nucleipel finetune`: few, as it is for users who do not wish to choose."""

from typing import Annotated

from pydantic import Field

from nucleipel.config.pipeline.calibrate import CalibratedNumber
from nucleipel.config.pipeline.read_images import ReadConfig
from nucleipel.config.pipeline.train import AugmentConfig
from nucleipel.config.settings import NotNegative, Positive, Precision
from nucleipel.core.choices import Device


class FinetuneConfig(ReadConfig):
    """Settings of `nucleipel finetune`."""

    device: Device = "auto"
    """Where the network runs; auto takes a GPU where there is one."""
    precision: Precision = "auto"
    """As of `train`; bfloat16 is faster on CPUs that were made for it (AMX, AVX512-BF16)."""
    workers: NotNegative = 0
    """Processes that prepare samples; 0 for none."""
    seed: NotNegative = 0
    """Seed of all that is drawn at random."""
    windows: Positive | None = None
    """Windows that are shown in the training of each half; without it one for five annotated
    nuclei, from 512 to 4,096."""
    window_px: Positive = 256
    """Side of a training window."""
    batch_size: Positive = 8
    """Windows of a step."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Highest learning rate."""
    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.5, 0.75, 1.0)
    """Shares of the trained weights in their mean with the start that are tried; 0, the start
    itself, always is. Where all images are of one source, at most `share_of_one_source` is."""
    share_of_one_source: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Largest share where all images are of one source: what is best for it, even held apart, is
    too much for others."""
    calibrate: tuple[CalibratedNumber, ...] = (
        "foreground_percent",
        "min_probability_percent",
        "min_area_px",
    )
    """Numbers of the instance rule that are chosen anew; the others stay as they are. Where all
    images are of one source, all stay: numbers that suit one do not suit others."""
    augment: AugmentConfig = AugmentConfig(scale_range=(0.75, 1.35), stain=1.5)
