"""What the stages that read images share: from settings to how an image is read."""

from nucleipel.config.stages import ReadConfig
from nucleipel.io.reading import Reading


def build_reading(config: ReadConfig, *, at_mpp: float | None, channels: int) -> Reading:
    """How images are read for a network of `channels` that works at `at_mpp` um per pixel."""
    return Reading(
        channels=channels,
        at_mpp=at_mpp,
        source_mpp=config.source_mpp,
        channel=config.channel,
        enlarge=config.enlarge,
    )
