"""Settings of `nucleipel plan`."""

from nucleipel.config.pipeline.read_images import ReadConfig
from nucleipel.config.pipeline.segment import SegmentConfig
from nucleipel.config.pipeline.tile import TileConfig


class PlanConfig(SegmentConfig):
    """Settings of `nucleipel plan`: those of `segment`, and of `tile` in a group."""

    tile: TileConfig = TileConfig()
    """Settings of `tile` for annotated images; those of reading that are not set are as above."""

    def tiling(self) -> TileConfig:
        """The settings of `tile`, those of reading filled in."""
        shared = {
            name: getattr(self, name)
            for name in ReadConfig.model_fields
            if name not in self.tile.model_fields_set
        }
        return self.tile.model_copy(update=shared)
