"""Settings of `nucleipel stitch --maps`."""

from nucleipel.config.pipeline.stitch import StitchConfig
from nucleipel.config.settings import Mpp, NotNegative


class StitchMapsConfig(StitchConfig):
    """Settings of `nucleipel stitch --maps`: those of `stitch`, and what the maps are."""

    channels: dict[str, NotNegative] | None = None
    """Index (from 0) of each channel: foreground; interior and boundary; or foreground (the two
    together) and boundary; perhaps distance. By default one channel is the foreground, three or
    four are background, interior, boundary and distance."""
    mpp: Mpp | None = None
    """Um per pixel of the map."""
