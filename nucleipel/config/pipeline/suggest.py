"""Settings of `nucleipel suggest`."""

from typing import Annotated

from pydantic import Field

from nucleipel.config.pipeline.predict import PredictConfig
from nucleipel.config.settings import Positive


class SuggestConfig(PredictConfig):
    """Settings of `nucleipel suggest`: those of `predict`, and which regions are wanted."""

    regions: Positive = 5
    """Regions of all images together; no image gets a second one before each has its first."""
    size_um: Annotated[float, Field(gt=0)] = 100.0
    """Side of a region, um, where the pixel size of the image is known."""
    size_px: Positive = 256
    """Side of a region, pixels, where no pixel size is known."""
