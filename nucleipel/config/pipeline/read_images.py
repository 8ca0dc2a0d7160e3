"""Settings of reading images."""

from typing import Self

from pydantic import Field, model_validator

from nucleipel.config.settings import Mpp, NotNegative, Percent, Settings


class ReadConfig(Settings):
    """Settings of reading images, for all stages that do."""

    source_mpp: Mpp | None = None
    """Pixel size of images, um, for which neither the manifest nor the file has one."""
    channel: NotNegative | str | None = None
    """Index (from 0) or name of the only channel that is used; "rgb" uses three as one picture."""
    series: NotNegative | str | None = None
    """Index (from 0) or name of the image that is read, of files that hold several."""
    enlarge: bool = False
    """Whether images coarser than the working mpp may be enlarged, at most 2x."""
    percentiles: tuple[Percent, Percent] | None = None
    """Percentiles of tissue's intensities that become 0 and 1; 1 and 99.8, or the checkpoint's."""
    intensity_range: tuple[tuple[float, float], ...] | None = Field(default=None, min_length=1)
    """Stored values that become 0 and 1 in all images: [[low, high]], or a pair a channel."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        for name, pairs in (
            ("percentiles", [self.percentiles] if self.percentiles else []),
            ("intensity_range", self.intensity_range or []),
        ):
            for low, high in pairs:
                if low >= high:
                    raise ValueError(f"{name}: {low:g} is not below {high:g}")
        return self


class ReadAtMppConfig(ReadConfig):
    """Settings of reading images for a network whose working mpp may be replaced."""

    at_mpp: Mpp | None = None
    """Working resolution, um per pixel, instead of the checkpoint's."""
