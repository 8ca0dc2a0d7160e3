"""Settings of `nucleipel tile`."""

from typing import Literal, Self

from pydantic import model_validator

from nucleipel.config.pipeline.read_images import ReadConfig
from nucleipel.config.settings import Mpp, NotNegative, Positive


class TileConfig(ReadConfig):
    """Settings of `nucleipel tile`."""

    mpp: Mpp | None = None
    """Resolution of the patches, um per pixel; without it images are used pixel for pixel."""
    channels: Literal[1, 3] = 3
    """Channels of the stored patches; with 3, gray images are repeated."""
    patch_px: Positive = 256
    """Side of a patch."""
    overlap_px: NotNegative = 64
    """Pixels that neighboring patches share, at least."""
    splits: tuple[str, ...] = ("train", "val")
    """Splits of the manifest that are tiled; a patch stays in its image's split."""
    shard_patches: Positive = 64
    """Patches a shard (one file each)."""

    @model_validator(mode="after")
    def _moves_on(self) -> Self:
        if self.overlap_px >= self.patch_px:
            raise ValueError(f"overlap_px {self.overlap_px} must be below patch_px {self.patch_px}")
        return self
