"""Settings of training: the network, its samples, and the schedule."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nucleipel.config.pipeline.instances import InstanceConfig
from nucleipel.config.pipeline.read_images import ReadConfig
from nucleipel.config.settings import (
    Mpp,
    NotNegative,
    Positive,
    Precision,
    Settings,
    Share,
    Weight,
)
from nucleipel.core.choices import Device
from nucleipel.model.stride import Family, Norm, network_stride

Optimizer = Literal["adamw", "muon"]


class NetworkConfig(Settings):
    """The network that is trained."""

    family: Family = "unet"
    """MONAI's residual UNet, or its BasicUNet."""
    features: tuple[Positive, ...] = (32, 48, 96, 192, 256)
    """Channels a level; six values for basic_unet."""
    residual_units: NotNegative = 2
    """Residual units a level (unet only)."""
    block_px: Literal[1, 2] = 2
    """Side of the blocks of pixels that the network works on; 2 keeps thin boundaries apart."""
    norm: Norm = "batch"
    """BatchNorm, whose tiles are exact; or InstanceNorm, for which train wants accept_seams."""

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
        return network_stride(self.family, levels=len(self.features), block_px=self.block_px)


class AugmentConfig(Settings):
    """Augmentation of training samples."""

    scale_range: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.7, 1.4)
    """Windows are shown between these scales (train only)."""
    rotate_degrees: Weight = 45.0
    """Largest free rotation, besides flips and quarter turns."""
    intensity: Weight = 1.0
    """Strength of brightness, contrast, gamma, noise and blur; 0 for none."""
    stain: Weight = 1.0
    """Strength of stain and hue jitter on color images; 0 for none."""
    gray_stained: Share = 0.0
    """Share of the gray images that are shown as if stained with hematoxylin and eosin."""
    crowded: Share = 0.0
    """Share of the gray images whose nuclei are shown twice, the second time turned."""
    as_dye: Share = 0.0
    """Share of the color images that are shown as the gray of their nuclear dye."""
    uneven: Share = 0.0
    """Share of the gray images whose nuclei get a contrast each of its own, down to a tenth of what
    it was: dim nuclei next to bright ones, as other fluorescence experiments have them."""
    veiled: Share = 0.0
    """Share of the images that are shown below a smooth veil: uneven background, less contrast."""
    coarse: Share = 0.0
    """Share of the images that are shown as if taken at a coarser resolution, down to 0.4 of it."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.scale_range[0] > self.scale_range[1]:
            raise ValueError(f"scale_range {self.scale_range}: the smaller value comes first")
        return self


class FitConfig(Settings):
    """Settings that `train` and `finetune-patches` share."""

    device: Device = "auto"
    """Where the network runs; auto takes a GPU where there is one."""
    precision: Precision = "auto"
    """Numbers that training multiplies: float32, or bfloat16, which processors made for it (AMX,
    AVX512-BF16, GPUs) do faster; auto is float32 on CPUs and float16 on GPUs. Sums, losses and
    weights are float32 in any case, and so is validation on CPUs."""
    workers: NotNegative = 2
    """Processes that prepare samples; 0 for none."""
    seed: NotNegative = 0
    """Seed of all that is drawn at random."""
    epochs: Positive
    """Epochs of the training."""
    batch_size: Positive = 8
    """Samples of a step; processes that train together share them out."""
    optimizer: Optimizer = "adamw"
    """adamw, or muon, whose steps are as large and move all directions of a kernel alike."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Highest learning rate."""
    weight_decay: Weight = 1e-4
    """Weight decay of the optimizer."""
    warmup_steps: NotNegative
    """Steps in which the learning rate rises from 0; it then falls as a cosine."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    """Decay of the running mean of weights, which is what is validated and kept."""
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradient; a larger one is scaled down to it."""
    validate_every: Positive = 1
    """Epochs between validations."""
    patience: Positive = 15
    """Validations without a better PQ after which training stops."""
    keep: Literal["best", "last"] = "best"
    """The weights with the best PQ on val (a checkpoint that training starts from counts, too); or
    the last, with no early stop."""
    cross_entropy_weight: Weight = 1.0
    """Weight of cross-entropy in the sum of losses."""
    distance_weight: Weight = 1.0
    """Weight of the distance to the nucleus' edge, which separates touching nuclei."""


class TrainConfig(FitConfig, ReadConfig):
    """Settings of `nucleipel train`."""

    mpp: Mpp | None = None
    """Working resolution, um per pixel; without it images are used pixel for pixel."""
    channels: Literal[1, 3] = 3
    """Channels of the network's input; with 3, gray images are repeated."""
    window_px: Positive = 512
    """Side of a training window."""
    whole_images: bool = False
    """Whether each image is shown whole, resized to a square of window_px, in training and in
    prediction, instead of windows at the working mpp. `finetune-patches` goes on with patches."""
    windows_per_epoch: Positive = 512
    """Windows that are seen in an epoch."""
    balance_by: str = ""
    """Column of the manifest, a modality say, whose values share the windows by the square roots
    of their areas, so that rare ones are seen more often; without it by area."""
    validation_windows: Positive = 256
    """At most this many windows are scored in a validation."""
    epochs: Positive = 80
    optimizer: Optimizer = "muon"
    """On DSB2018 muon was after 6 epochs where adamw was after 44 (docs/choices.md)."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    warmup_steps: NotNegative = 100
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    dice_weight: Weight = 1.0
    """Weight of soft Dice in the sum of losses."""
    boundary_px: Positive = 2
    """Width of the boundary class, inside each nucleus."""
    instances: InstanceConfig = InstanceConfig()
    """Numbers that turn maps into nuclei in validation, and later unless they are calibrated."""
    core_px: Positive = 1024
    """Side of the tiles that predictions with this checkpoint are cut into, at most."""
    network: NetworkConfig = NetworkConfig()
    """The network of a training from random weights; with a checkpoint, it is the checkpoint's."""
    accept_seams: bool = False
    """Whether a network may be trained whose maps depend on the cut of an image (instance norm)."""
    augment: AugmentConfig = AugmentConfig()

    @model_validator(mode="after")
    def _on_the_grid(self) -> Self:
        for name in ("window_px", "core_px"):
            if getattr(self, name) % self.network.stride:
                raise ValueError(
                    f"{name} {getattr(self, name)} must be a multiple of {self.network.stride},"
                    " the stride of the network"
                )
        if self.network.norm == "instance" and self.window_px == self.network.stride:
            raise ValueError(
                f"window_px {self.window_px} leaves one pixel at the network's lowest level, which"
                " has no statistics for network.norm instance; set window_px to more"
            )
        return self

    @model_validator(mode="after")
    def _whole_images_have_no_scale(self) -> Self:
        if self.whole_images and self.mpp is not None:
            raise ValueError(
                f"mpp is {self.mpp:g}, but whole_images resizes images of any size to one;"
                " leave one of the two out"
            )
        if self.whole_images and self.balance_by:
            raise ValueError(
                f"balance_by {self.balance_by} shares out windows, and whole_images has none;"
                " leave one of the two out"
            )
        if self.whole_images and self.augment.scale_range != (1, 1):
            raise ValueError(
                "whole_images shows every image whole; set augment.scale_range to [1, 1]"
            )
        return self
