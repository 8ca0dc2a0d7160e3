"""Settings of fine-tuning on patches: the loss, and which patches are seen."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from nucleipel.config.pipeline.instances import InstanceOverrides
from nucleipel.config.pipeline.train import AugmentConfig, FitConfig
from nucleipel.config.settings import NotNegative, Positive, Settings, Share, Weight

ClassName = Literal["background", "interior", "boundary"]
CLASS_NAMES: tuple[ClassName, ...] = get_args(ClassName)


class PELConfig(Settings):
    """Choose a PEL; its formulas stand in the docstring of `nucleipel.losses.pel`."""

    form: Literal["jaccard", "dice", "original", "deviation"] = "dice"
    """This one with alpha = 1 and n = 1, soft Dice at half its weight, was the best of all forms on
    val; n = 3 had the least PQ in each form (docs/pel.md)."""
    alpha: Annotated[float, Field(gt=0)] = 1.0
    """Factor of PEL: its weight in the sum of losses."""
    n: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Exponent of PEL."""
    n_ramp: Share = 0.0
    """Share of the fine-tuning over which n goes from 1 to its value; 0 for none."""
    classes: Annotated[tuple[ClassName, ...], Field(min_length=1)] = CLASS_NAMES
    """The classes that take part."""
    class_weights: tuple[Weight, ...] | None = None
    """Weights of these classes, in their order; only the ratios matter."""
    batch_sums: bool = False
    """Sums over the whole batch and not over each patch, as the original code has them."""
    boundary_weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of pixels near annotated boundaries, the others having 1 (deviation only)."""
    boundary_px: Positive = 2
    """Distance up to which pixels are near: to one of another class, along either axis."""
    block_px: Positive | None = None
    """Side of the squares that the loss cuts a patch into, each a patch of its own; it must divide
    patch_px."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes {list(self.classes)}: each once")
        if self.class_weights is not None:
            if len(self.class_weights) != len(self.classes):
                raise ValueError(
                    f"{len(self.class_weights)} class_weights for {len(self.classes)} classes;"
                    " give one a class"
                )
            if not any(self.class_weights):
                raise ValueError("class_weights are all 0; leave the classes out instead")
        if self.boundary_weight != 1 and self.form != "deviation":
            raise ValueError(
                f"boundary_weight is set, but the form is {self.form}; set it to deviation"
            )
        if self.n_ramp and self.n == 1:
            raise ValueError("n_ramp is set, but n is 1 and starts at 1; set both")
        if self.block_px is not None and self.batch_sums:
            raise ValueError("block_px cuts patches apart, batch_sums adds them up; set one")
        if self.boundary_px != 2 and self.boundary_weight == 1:
            raise ValueError("boundary_px is set, but boundary_weight is 1; set both")
        return self


class LossConfig(Settings):
    """The loss of a fine-tuning besides that of the distance: cross-entropy and a region loss."""

    cross_entropy_weight: Weight = 1.0
    """Weight of cross-entropy in the sum of losses."""
    region_loss: Literal["pel", "dice", "dice_focal", "focal_tversky", "none"] = "pel"
    """The loss besides cross-entropy; `train` uses dice."""
    region_weight: Weight = 1.0
    """Weight of the region loss."""
    region_weight_start: Weight | None = None
    """The weight at the first step, if it differs."""
    region_weight_ramp: Share = 0.0
    """Share of the fine-tuning over which the weight goes from its start to its value."""
    pel: PELConfig = PELConfig()
    teacher_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the running mean's own map in what is learned (mean teacher); the annotation has the
    rest. One more forward pass a step."""

    @model_validator(mode="after")
    def _all_have_an_effect(self) -> Self:
        if self.region_loss != "pel" and self.pel != PELConfig():
            raise ValueError(f"pel is set, but region_loss is {self.region_loss}; set it to pel")
        if (self.region_weight_start is None) != (self.region_weight_ramp == 0):
            raise ValueError("region_weight_start and region_weight_ramp go together: set both")
        if self.region_loss == "none" and (
            self.region_weight != 1 or self.region_weight_start is not None
        ):
            raise ValueError("region_loss is none, so its weight must be left alone")
        if not self.cross_entropy_weight and (self.region_loss == "none" or not self.region_weight):
            raise ValueError("cross_entropy_weight and the region loss are both 0; raise one")
        return self


class SamplingConfig(Settings):
    """The patches that a fine-tuning draws."""

    sampling: Literal["uniform", "deviation"] = "uniform"
    """Every patch once, then all again, one that a region fills in part as often as its share says;
    or each in proportion to its summed deviation |p - g| under the start checkpoint, computed
    once."""


class FinetunePatchesConfig(FitConfig, LossConfig, SamplingConfig):
    """Settings of `nucleipel finetune-patches`."""

    epochs: Positive = 10
    patches_per_epoch: Positive | None = None
    """Patches of an epoch; without it, as many as there are."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    warmup_steps: NotNegative = 20
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    instances: InstanceOverrides = InstanceOverrides()
    augment: AugmentConfig = AugmentConfig(scale_range=(1.0, 1.0), rotate_degrees=0, intensity=0.5)
