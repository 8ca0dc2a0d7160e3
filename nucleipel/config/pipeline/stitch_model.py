"""Settings of `nucleipel stitch --checkpoint`, for a model of another program."""

from typing import Annotated

from pydantic import Field

from nucleipel.config.pipeline.segment import SegmentConfig
from nucleipel.config.settings import NotNegative, Positive
from nucleipel.core.choices import Activation


class StitchModelConfig(SegmentConfig):
    """Settings of `nucleipel stitch --checkpoint`: those of `segment`, and how a model is used."""

    channels: dict[str, NotNegative] | None = None
    """Index (from 0) of each output of the model, as of `stitch --maps`."""
    output: str | None = None
    """Name of the output that is used, of a model with several; the first."""
    activation: Activation | None = None
    """What makes probabilities of the model's values; none, or as the package says."""
    mean: Annotated[tuple[float, ...], Field(min_length=1)] | None = None
    """The model takes (image - mean) / std, the image in 0..1; one number, or one a channel."""
    std: Annotated[tuple[float, ...], Field(min_length=1)] | None = None
    """See `mean`."""
    stride_px: Positive | None = None
    """Sides of windows are multiples of it; 32, or as the package says."""
    core_px: Positive | None = None
    """Side of the windows without their halo; 256."""
    receptive_radius_px: NotNegative | None = None
    """How far the model sees, and so the halo; measured."""
    accept_seams: bool = False
    """Whether a model that sees the whole window is taken: nuclei may then have seams."""
