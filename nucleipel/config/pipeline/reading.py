"""Settings of reading images."""

from nucleipel.config.settings import Mpp, NotNegative, Settings


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


class ReadAtMppConfig(ReadConfig):
    """Settings of reading images for a network whose working mpp may be replaced."""

    at_mpp: Mpp | None = None
    """Working resolution, um per pixel, instead of the checkpoint's."""
