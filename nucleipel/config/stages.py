"""The settings of each stage. Defaults live here and nowhere else.

Lengths in pixels (`_px`) are in pixels of the working mpp.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Device = Literal["auto", "cpu", "cuda"]
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]

WITHOUT_EFFECT_ON_RESULTS = frozenset({"device", "workers", "keep_predictions"})


class Settings(BaseModel):
    """Frozen settings; unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    def identity(self) -> dict[str, object]:
        """What shapes the result: all settings but the device and the number of workers."""
        return self.model_dump(mode="json", exclude=set(WITHOUT_EFFECT_ON_RESULTS))


class NetworkConfig(Settings):
    """Which network is trained. BatchNorm throughout: tiles must be exact."""

    family: Literal["unet", "basic_unet"] = "unet"
    """MONAI's residual UNet, or its BasicUNet."""
    features: tuple[Positive, ...] = (32, 48, 96, 192, 256)
    """Channels a level; six values for basic_unet."""
    residual_units: NotNegative = 2
    """Residual units a level (unet only)."""
    block_px: Literal[1, 2] = 2
    """Side of the blocks of pixels that the network works on; 2 keeps thin boundaries apart."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.family == "basic_unet" and len(self.features) != 6:
            raise ValueError(f"basic_unet takes 6 features, got {len(self.features)}")
        if self.family == "unet" and len(self.features) < 2:
            raise ValueError("unet takes at least 2 features")
        return self

    @property
    def stride(self) -> int:
        """Windows must be a multiple of this many pixels."""
        return int(2 ** (len(self.features) - 1)) if self.family == "unet" else 16 * self.block_px


class AugmentConfig(Settings):
    """How training samples are varied."""

    scale_range: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.7, 1.4)
    """Windows are shown between these scales (train only)."""
    rotate_degrees: Weight = 45.0
    """Largest free rotation beside flips and quarter turns."""
    intensity: Weight = 1.0
    """Strength of brightness, contrast, gamma, noise and blur; 0 for none."""
    stain: Weight = 1.0
    """Strength of stain and hue jitter on colour images; 0 for none."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.scale_range[0] > self.scale_range[1]:
            raise ValueError(f"scale_range {self.scale_range}: the smaller value comes first")
        return self


class InstanceConfig(Settings):
    """How a probability map becomes nuclei."""

    foreground_percent: Annotated[int, Field(ge=1, le=99)] = 50
    """Share of interior + boundary above which a pixel is nucleus."""
    fill_holes_px: NotNegative = 64
    """Largest hole (area) that is filled."""
    distance_px: Annotated[int, Field(ge=1, le=255)] = 15
    """Distance to the background beyond which a pixel is no more central (maps without one)."""
    distance_percent: Annotated[int, Field(ge=0, le=100)] = 75
    """Share of the distance in the height that tells nuclei apart; the interior has the rest."""
    smooth_px: Annotated[float, Field(gt=0)] = 1.0
    """Standard deviation of the smoothing of heights."""
    persistence: Annotated[float, Field(ge=0, le=1)] = 0.08
    """How far a peak must stand above its saddle to be a nucleus; higher splits less."""
    min_area_px: NotNegative = 10
    """Smaller nuclei are dropped."""


class InstanceOverrides(Settings):
    """As `InstanceConfig`; what is not given stays as the checkpoint has it."""

    foreground_percent: Annotated[int, Field(ge=1, le=99)] | None = None
    fill_holes_px: NotNegative | None = None
    distance_px: Annotated[int, Field(ge=1, le=255)] | None = None
    distance_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    smooth_px: Annotated[float, Field(gt=0)] | None = None
    persistence: Annotated[float, Field(ge=0, le=1)] | None = None
    min_area_px: NotNegative | None = None

    def over(self, calibrated: Mapping[str, Any]) -> dict[str, Any]:
        """The checkpoint's numbers, with those given here instead."""
        return {**calibrated, **self.model_dump(exclude_none=True)}


class FitConfig(Settings):
    """What `train` and `finetune-patches` share."""

    device: Device = "auto"
    workers: NotNegative = 2
    """Processes that prepare samples; 0 for none."""
    seed: NotNegative = 0
    epochs: Positive
    batch_size: Positive = 8
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Weight = 1e-4
    warmup_steps: NotNegative
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    """Decay of the running mean of weights, which is what is validated and kept."""
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    validate_every: Positive = 1
    """Epochs between validations."""
    patience: Positive = 15
    """Validations without a better PQ after which training stops."""
    cross_entropy_weight: Weight = 1.0
    distance_weight: Weight = 1.0
    """Weight of the distance to the nucleus' edge, which tells touching nuclei apart."""


class ReadConfig(Settings):
    """How images are read; shared by all stages that do."""

    source_mpp: Annotated[float, Field(gt=0)] | None = None
    """Pixel size of images, um, for which the manifest has none and the file does not tell it."""
    channel: NotNegative | str | None = None
    """Index (from 0) or name of the only channel that is used, of images that have several."""
    enlarge: bool = False
    """Whether images coarser than the working mpp may be enlarged, at most 2x."""


class TrainConfig(FitConfig, ReadConfig):
    """Settings of `nucleipel train`."""

    mpp: Annotated[float, Field(gt=0)] | None = None
    """Working resolution, um per pixel; without it images are used pixel for pixel."""
    channels: Literal[1, 3] = 3
    """Channels of the network's input; with 3, gray images are repeated."""
    window_px: Positive = 512
    windows_per_epoch: Positive = 512
    validation_windows: Positive = 256
    """At most this many windows are scored in a validation."""
    epochs: Positive = 80
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    warmup_steps: NotNegative = 100
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    dice_weight: Weight = 1.0
    boundary_px: Positive = 2
    """Width of the boundary class, inside each nucleus."""
    instances: InstanceConfig = InstanceConfig()
    """How maps become nuclei in validation, and later unless `calibrate` finds better numbers."""
    core_px: Positive = 512
    """Side of the tiles that predictions with this checkpoint are cut into."""
    network: NetworkConfig = NetworkConfig()
    augment: AugmentConfig = AugmentConfig()

    @model_validator(mode="after")
    def _on_the_grid(self) -> Self:
        for name in ("window_px", "core_px"):
            if getattr(self, name) % self.network.stride:
                raise ValueError(
                    f"{name} {getattr(self, name)} must be a multiple of {self.network.stride},"
                    " the stride of the network"
                )
        return self


class ImportConfig(Settings):
    """Settings of `nucleipel import`."""

    mpp: Annotated[float, Field(gt=0)] | None = None
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

    mpp: Annotated[float, Field(gt=0)] | None = None
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


class PELConfig(Settings):
    """Which PEL, and how much of it."""

    form: Literal["jaccard", "dice", "original", "deviation"] = "deviation"
    alpha: Annotated[float, Field(gt=0)] = 1.0
    n: Annotated[float, Field(gt=0, le=4)] = 2.0
    include_background: bool = True
    weight: Weight = 1.0


class FinetunePatchesConfig(FitConfig):
    """Settings of `nucleipel finetune-patches`."""

    epochs: Positive = 10
    patches_per_epoch: Positive | None = None
    """Without it, every training patch once an epoch."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    warmup_steps: NotNegative = 20
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    instances: InstanceOverrides = InstanceOverrides()
    pel: PELConfig = PELConfig()
    augment: AugmentConfig = AugmentConfig(scale_range=(1.0, 1.0), rotate_degrees=0, intensity=0.5)


class InfoConfig(ReadConfig):
    """Settings of `nucleipel info`."""

    at_mpp: Annotated[float, Field(gt=0)] | None = None
    """Working resolution, um per pixel, instead of the checkpoint's."""


class PredictConfig(InfoConfig):
    """Settings of `nucleipel predict`."""

    device: Device = "auto"


class StitchConfig(Settings):
    """Settings of `nucleipel stitch`."""

    instances: InstanceOverrides = InstanceOverrides()


class SegmentConfig(PredictConfig, StitchConfig):
    """Settings of `nucleipel segment`: those of `predict` and of `stitch`."""

    keep_predictions: bool = False
    """Whether the probability maps stay in OUT/predictions.zarr."""


class CalibrateConfig(PredictConfig):
    """Settings of `nucleipel calibrate`: the numbers that are tried, beside the checkpoint's own.

    One after another is set to the value of best pooled PQ, again and again
    until none gains more.
    """

    foreground_percent: tuple[Annotated[int, Field(ge=1, le=99)], ...] = (30, 40, 50, 60, 70)
    fill_holes_px: tuple[NotNegative, ...] = (0, 64, 1000)
    distance_percent: tuple[Annotated[int, Field(ge=0, le=100)], ...] = (0, 25, 50, 75, 100)
    smooth_px: tuple[Annotated[float, Field(gt=0)], ...] = (0.5, 1.0, 1.5, 2.0, 3.0)
    persistence: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (
        0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3,
    )  # fmt: skip
    min_area_px: tuple[NotNegative, ...] = (5, 10, 15, 20, 30, 40)
    rounds: Positive = 4
    """At most this many times through all numbers."""

    def candidates(self) -> dict[str, tuple[float, ...]]:
        """Values to try of each number."""
        names = set(InstanceConfig.model_fields) & set(type(self).model_fields)
        return {name: getattr(self, name) for name in InstanceConfig.model_fields if name in names}


class EvaluateConfig(Settings):
    """Settings of `nucleipel evaluate`."""

    ap_thresholds: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)
    ] = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
    """IoU from which a predicted nucleus counts as found, one AP each."""


class DemoConfig(Settings):
    """Settings of `nucleipel demo`."""

    device: Device = "auto"
    workers: NotNegative = 1
    seed: NotNegative = 0
    height_px: Positive = 1024
    width_px: Positive = 3072
    epochs: Positive = 7
    finetune_epochs: Positive = 2
    minimum_pq: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The demo fails under this PQ on the part of the slide that was held apart."""
