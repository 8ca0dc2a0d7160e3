"""Settings of how images are read: info, import, tile, predict."""

from typing import Literal, Self

from pydantic import model_validator

from nucleipel.config.settings import Device, Mpp, NotNegative, Positive, Settings


class ReadConfig(Settings):
    """How images are read; shared by all stages that do."""

    source_mpp: Mpp | None = None
    """Pixel size of images, um, for which the manifest has none and the file does not tell it."""
    channel: NotNegative | str | None = None
    """Index (from 0) or name of the only channel that is used, of images that have several."""
    enlarge: bool = False
    """Whether images coarser than the working mpp may be enlarged, at most 2x."""


class ImportConfig(Settings):
    """Settings of `nucleipel import`."""

    mpp: Mpp | None = None
    """Pixel size of all images, um, where the annotations do not tell it."""
    split: Literal["train", "val", "test", ""] = ""
    """Split of all images, where the source has no splits of its own."""
    images: str | None = None
    """Folder of the images, where they do not lie beside the annotations."""
    min_area_px: NotNegative | None = None
    """Smaller nuclei are left out; by default none, or what the data set's own rule says."""
    split_pieces: bool = False
    """Number the pieces of a mask that has one value for all nuclei."""


class TileConfig(ReadConfig):
    """Settings of `nucleipel tile`."""

    mpp: Mpp | None = None
    """Resolution of the patches, um per pixel; without it images are used pixel for pixel."""
    channels: Literal[1, 3] = 3
    """Channels of the stored patches; with 3, gray images are repeated."""
    patch_px: Positive = 256
    overlap_px: NotNegative = 64
    """How much neighboring patches share, at least."""
    splits: tuple[str, ...] = ("train", "val")
    """Splits of the manifest that are tiled; a patch stays in its image's split."""
    shard_patches: Positive = 64
    """Patches a shard (one file each)."""

    @model_validator(mode="after")
    def _moves_on(self) -> Self:
        if self.overlap_px >= self.patch_px:
            raise ValueError(f"overlap_px {self.overlap_px} must be below patch_px {self.patch_px}")
        return self


class InfoConfig(ReadConfig):
    """Settings of `nucleipel info`."""

    at_mpp: Mpp | None = None
    """Working resolution, um per pixel, instead of the checkpoint's."""


class PredictConfig(InfoConfig):
    """Settings of `nucleipel predict`."""

    device: Device = "auto"
    tta: bool = False
    """Whether the eight flips and quarter turns of each window are averaged: better, 8 x slower."""
    stained_as: Literal["colour", "dye"] = "colour"
    """Whether the network sees stained slides in colour, or as the gray of their nuclear dye."""
    tissue: str = "auto"
    """Which cores are skipped as glass: auto, on images from 2048 px on; off; or a mask's path."""
