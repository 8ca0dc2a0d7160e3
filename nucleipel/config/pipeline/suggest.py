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
    size_px: Positive | None = None
    """Side of a region in pixels of the working mpp, in place of size_um; without it 256 px where
    no pixel size is known."""
