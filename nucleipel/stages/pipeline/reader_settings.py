"""From settings to the reader of images, for all stages that read them."""

from nucleipel.config.pipeline.read_images import ReadConfig
from nucleipel.core.intensity import (
    HIGH_PERCENTILE,
    LOW_PERCENTILE,
    IntensityRange,
    RangeRule,
)
from nucleipel.errors import ConfigError
from nucleipel.io.slides.slide_reader import SlideReader


def build_slide_reader(
    config: ReadConfig,
    *,
    at_mpp: float | None,
    channels: int,
    scale: float = 1.0,
    whole_image_px: int | None = None,
    percentiles: tuple[float, float] = (LOW_PERCENTILE, HIGH_PERCENTILE),
) -> SlideReader:
    """Build the reader of images for a network of `channels` that works at `at_mpp` um per pixel.

    `percentiles` are those of the checkpoint, where the settings have none.

    Raises
    ------
    ConfigError
        If there is a working mpp for whole images that are resized.
    """
    if whole_image_px is not None and at_mpp is not None:
        raise ConfigError(
            f"at_mpp {at_mpp:g}: the network takes whole images, resized to {whole_image_px} px,"
            " whatever their pixel size; leave at_mpp out"
        )
    fixed = None
    if config.intensity_range is not None:
        low, high = zip(*config.intensity_range, strict=True)
        fixed = IntensityRange(low, high)
    return SlideReader(
        channels=channels,
        at_mpp=at_mpp,
        scale=scale,
        source_mpp=config.source_mpp,
        channel=config.channel,
        enlarge=config.enlarge,
        whole_image_px=whole_image_px,
        range_rule=RangeRule(config.percentiles or percentiles, fixed),
    )
