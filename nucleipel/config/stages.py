"""The settings of each stage. Defaults live here, those of nuclei in `InstanceRule`.

Lengths in pixels (`_px`) are in pixels of the working mpp.
"""

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nucleipel.instances.rule import InstanceRule
from nucleipel.model.stride import Family, network_stride

S = TypeVar("S", bound="Settings")

Device = Literal["auto", "cpu", "cuda"]
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
ClassName = Literal["background", "interior", "boundary"]
CLASS_NAMES: tuple[ClassName, ...] = get_args(ClassName)

WITHOUT_EFFECT_ON_RESULTS = frozenset(
    {"device", "workers", "jobs", "max_ram_gb", "keep_predictions"}
)

_RULE = InstanceRule()

ForegroundPercent = Annotated[int, Field(ge=1, le=99)]
Percent = Annotated[int, Field(ge=0, le=100)]
DistancePx = Annotated[int, Field(ge=1, le=255)]
SmoothPx = Annotated[float, Field(gt=0, le=32)]


class Settings(BaseModel):
    """Frozen settings; unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    def identity(self) -> dict[str, object]:
        """What shapes the result: all settings but `WITHOUT_EFFECT_ON_RESULTS`."""
        return self.model_dump(mode="json", exclude=set(WITHOUT_EFFECT_ON_RESULTS))

    def part(self, kind: type[S]) -> S:
        """Those of these settings that another stage has too."""
        return kind.model_validate(self.model_dump(include=set(kind.model_fields)))


class NetworkConfig(Settings):
    """Which network is trained. BatchNorm throughout: tiles must be exact."""

    family: Family = "unet"
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
        return network_stride(self.family, levels=len(self.features), block_px=self.block_px)


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

    foreground_percent: ForegroundPercent = _RULE.foreground_percent
    """Share of interior + boundary above which a pixel is nucleus."""
    fill_holes_px: NotNegative = _RULE.fill_holes_px
    """Largest hole (area) that is filled."""
    distance_px: DistancePx = _RULE.distance_px
    """Distance to the background beyond which a pixel is no more central (maps without one)."""
    distance_percent: Percent = _RULE.distance_percent
    """Share of the distance in the height that tells nuclei apart; the interior has the rest."""
    smooth_px: SmoothPx = _RULE.smooth_px
    """Standard deviation of the smoothing of heights."""
    persistence: Share = _RULE.persistence
    """How far a peak must stand above its saddle to be a nucleus; higher splits less."""
    min_area_px: NotNegative = _RULE.min_area_px
    """Smaller nuclei are dropped."""
    min_probability_percent: Percent = _RULE.min_probability_percent
    """Nuclei whose mean probability is lower are dropped."""


class InstanceOverrides(Settings):
    """As `InstanceConfig`; what is not given stays as the checkpoint has it."""

    foreground_percent: ForegroundPercent | None = None
    fill_holes_px: NotNegative | None = None
    distance_px: DistancePx | None = None
    distance_percent: Percent | None = None
    smooth_px: SmoothPx | None = None
    persistence: Share | None = None
    min_area_px: NotNegative | None = None
    min_probability_percent: Percent | None = None

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
    whole_images: bool = False
    """Whether each image is shown whole, resized to a square of window_px, in training and in
    prediction, instead of windows at the working mpp. `finetune-patches` goes on with patches."""
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
    core_px: Positive = 1024
    """Side of the tiles that predictions with this checkpoint are cut into, at most."""
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

    @model_validator(mode="after")
    def _whole_images_have_no_scale(self) -> Self:
        if self.whole_images and self.mpp is not None:
            raise ValueError(
                f"mpp is {self.mpp:g}, but whole_images resizes images of any size to one;"
                " leave one of the two out"
            )
        if self.whole_images and self.augment.scale_range != (1, 1):
            raise ValueError(
                "whole_images shows every image whole; set augment.scale_range to [1, 1]"
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
    """Which PEL; its formulas stand in the docstring of `nucleipel.losses.pel`."""

    form: Literal["jaccard", "dice", "original", "deviation"] = "deviation"
    alpha: Annotated[float, Field(gt=0)] = 1.0
    n: Annotated[float, Field(gt=0, le=4)] = 2.0
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
    """How near: pixels to one of another class, along either axis."""

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
        if self.boundary_px != 2 and self.boundary_weight == 1:
            raise ValueError("boundary_px is set, but boundary_weight is 1; set both")
        return self


class LossConfig(Settings):
    """What a fine-tuning minimizes, the distance apart: cross-entropy and a region loss."""

    cross_entropy_weight: Weight = 1.0
    region_loss: Literal["pel", "dice", "dice_focal", "focal_tversky", "none"] = "pel"
    """What stands beside cross-entropy; dice is what `train` uses."""
    region_weight: Weight = 1.0
    """The region loss against cross-entropy."""
    region_weight_start: Weight | None = None
    """Its weight at the first step, if another."""
    region_weight_ramp: Share = 0.0
    """Share of the fine-tuning over which the weight goes from its start to its value."""
    pel: PELConfig = PELConfig()

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
    """Which patches a fine-tuning sees."""

    sampling: Literal["uniform", "deviation"] = "uniform"
    """Every patch once, then all again; or each in proportion to its summed deviation |p - g|
    under the start checkpoint, computed once."""


class FinetunePatchesConfig(FitConfig, LossConfig, SamplingConfig):
    """Settings of `nucleipel finetune-patches`."""

    epochs: Positive = 10
    patches_per_epoch: Positive | None = None
    """Without it, as many as there are."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    warmup_steps: NotNegative = 20
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    instances: InstanceOverrides = InstanceOverrides()
    keep: Literal["best", "last"] = "best"
    """The weights with the best PQ on val, the start included; or the last, with no early stop."""
    augment: AugmentConfig = AugmentConfig(scale_range=(1.0, 1.0), rotate_degrees=0, intensity=0.5)


class InfoConfig(ReadConfig):
    """Settings of `nucleipel info`."""

    at_mpp: Annotated[float, Field(gt=0)] | None = None
    """Working resolution, um per pixel, instead of the checkpoint's."""


class PredictConfig(InfoConfig):
    """Settings of `nucleipel predict`."""

    device: Device = "auto"
    tta: bool = False
    """Whether the eight flips and quarter turns of each window are averaged: better, 8 x slower."""
    tissue: str = "auto"
    """Which cores are skipped as glass: auto, on images from 2048 px on; off; or a mask's path."""


class StitchConfig(Settings):
    """Settings of `nucleipel stitch`."""

    map_frame: Literal["level0", "working"] = "level0"
    """Pixels that nuclei are written in: those of level 0 of the image, or of the working mpp."""
    intensities: bool = True
    """Whether each nucleus' intensities are measured, for which the image must be there."""
    csv: bool = False
    """Whether nuclei.csv is written beside nuclei.parquet."""
    geojson: Literal["plain", "gz", "none"] = "plain"
    """Whether nuclei.geojson is written, and whether compressed."""

    workers: Positive = 2
    """Threads that solve blocks."""
    max_ram_gb: Annotated[float, Field(gt=0)] | None = None
    """Memory that stitching may take; picks the size of the blocks, never the result."""
    instances: InstanceOverrides = InstanceOverrides()


class SegmentConfig(PredictConfig, StitchConfig):
    """Settings of `nucleipel segment`: those of `predict` and of `stitch`."""

    keep_predictions: bool = False
    """Whether the probability maps stay in OUT/predictions.zarr."""


class CalibrateConfig(PredictConfig):
    """Settings of `nucleipel calibrate`: the numbers that are tried, beside the checkpoint's own.

    One after another is set to the value of best pooled PQ, again and again
    until none gains more. A number with nothing to try stays as it is.
    """

    foreground_percent: tuple[ForegroundPercent, ...] = (
        30, 40, 50, 55, 60, 65, 70, 75, 80, 85, 90,
    )  # fmt: skip
    fill_holes_px: tuple[NotNegative, ...] = (0, 64, 1000)
    distance_percent: tuple[Percent, ...] = (0, 25, 50, 75, 100)
    smooth_px: tuple[SmoothPx, ...] = (0.5, 1.0, 1.5, 2.0, 3.0)
    persistence: tuple[Share, ...] = (
        0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3,
    )  # fmt: skip
    min_area_px: tuple[NotNegative, ...] = (5, 10, 15, 20, 30, 40)
    min_probability_percent: tuple[Percent, ...] = (
        0, 60, 70, 75, 80, 84, 88, 92, 95,
    )  # fmt: skip
    rounds: Positive = 4
    """At most this many times through all numbers."""

    def candidates(self) -> dict[str, tuple[float, ...]]:
        """Values to try of each number."""
        tried = type(self).model_fields
        return {name: getattr(self, name) for name in InstanceConfig.model_fields if name in tried}


CalibratedNumber = Literal[
    "foreground_percent",
    "fill_holes_px",
    "distance_percent",
    "smooth_px",
    "persistence",
    "min_area_px",
    "min_probability_percent",
]


class CitationConfig(Settings):
    """A work to cite: give its DOI or its address."""

    text: Annotated[str, Field(min_length=1)]
    doi: str | None = None
    url: str | None = None

    @model_validator(mode="after")
    def _can_be_found(self) -> Self:
        if (self.doi is None) == (self.url is None):
            raise ValueError(f"citation '{self.text}': give its doi or its url")
        return self


class ExportConfig(Settings):
    """Settings of `nucleipel export`: what a bioimage.io package says of a model."""

    name: Annotated[str, Field(min_length=5, max_length=128, pattern=r"^[A-Za-z0-9_+ ()-]+$")] = (
        "nucleipel nuclei"
    )
    description: Annotated[str, Field(min_length=1, max_length=1024)] = (
        "Segments nuclei: probabilities of background, interior and boundary, and the distance"
        " to the nucleus' edge."
    )
    authors: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Names; those of the packaged weights are known."""
    license: str | None = None
    """SPDX identifier (CC-BY-4.0, say) of the weights; that of the packaged ones is known."""
    citations: tuple[CitationConfig, ...] = ()
    """Works to cite, the data above all, beside that of PEL."""
    tags: tuple[str, ...] = ()
    """Beside the usual ones: the tissue, the stain, the microscope."""


class EvaluateConfig(Settings):
    """Settings of `nucleipel evaluate`."""

    ap_thresholds: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)
    ] = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
    """IoU from which a predicted nucleus counts as found, one AP each."""


class ArmConfig(LossConfig, SamplingConfig):
    """One way of fine-tuning: its loss, and which patches it draws, tell it from other arms."""


class GridConfig(Settings):
    """The PEL arms: every form with every n and alpha. Scored on val, never on test."""

    forms: tuple[Literal["jaccard", "dice", "deviation"], ...] = ("jaccard", "dice", "deviation")
    """`original` is `dice` but for its sums over the batch, which an arm can ask for."""
    n: tuple[Annotated[float, Field(gt=0, le=4)], ...] = (1.0, 2.0, 3.0)
    alpha: tuple[Annotated[float, Field(gt=0)], ...] = (0.25, 1.0, 4.0, 20.0)
    seeds: Annotated[tuple[NotNegative, ...], Field(min_length=1)] = (0,)


class FinalistsConfig(Settings):
    """The arms that are scored on test, and with which seeds."""

    seeds: tuple[NotNegative, ...] = (0, 1, 2, 3, 4)
    """None ends the ablation after the grid."""
    arms: tuple[str, ...] | None = None
    """Arms by name, chosen elsewhere: no grid is run then. Without it the grid chooses."""


ARMS = {
    "control": ArmConfig(region_loss="dice"),
    "cross-entropy": ArmConfig(region_loss="none"),
    "original": ArmConfig(pel=PELConfig(form="original", alpha=20, n=3, batch_sums=True)),
    "focal-tversky": ArmConfig(region_loss="focal_tversky"),
    "dice-focal": ArmConfig(region_loss="dice_focal", cross_entropy_weight=0),
}
SET_BY_ABLATE = frozenset(
    {"device", "workers", "seed", "patience", "keep", "instances", *ArmConfig.model_fields}
)


class AblateConfig(Settings):
    """Settings of `nucleipel ablate`."""

    base: str | None = None
    """Run folder of the saturated checkpoint that every arm starts from."""
    manifest: str | None = None
    data_root: str | None = None
    """Folder that the manifest's paths start from; without it, the manifest's own."""
    device: Device = "auto"
    workers: NotNegative = 2
    """Processes that prepare samples, for each run; 0 for none."""
    jobs: Positive = 1
    """Runs at a time, each in a process of its own."""
    threads: Positive = 1
    """CPU threads of each run; another number rounds another way."""
    patch_px: Positive = 256
    overlap_px: NotNegative = 64
    finetune: FinetunePatchesConfig = FinetunePatchesConfig()
    """What the arms share: steps, learning rate, augmentation; never the loss or the sampling."""
    instances: InstanceOverrides = InstanceOverrides()
    """How maps become nuclei, in validation and for the scores, if not as the base has it."""
    calibrate: tuple[CalibratedNumber, ...] = ("foreground_percent", "min_probability_percent")
    """Numbers chosen on val for each run, the base too, before it is scored: once by Dice, for
    its Dice, and once by PQ, for all else. None: all runs are judged as the base has it."""
    arms: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], ArmConfig] = ARMS
    """By name; `control` goes on with the base's own loss. `none`, the base, is always there."""
    grid: GridConfig = GridConfig()
    finalists: FinalistsConfig = FinalistsConfig()
    select_by: Literal["pq", "dice"] = "pq"
    """Mean over the val images by which the grid chooses the finalists."""
    saturated_points: Weight = 0.2
    """The base counts as saturated if the control gains less Dice points on the val patches."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for number in self.calibrate:
            if getattr(self.instances, number) is not None:
                raise ValueError(
                    f"instances.{number} is set, but calibrate chooses it for each run;"
                    " leave one of the two out"
                )
        for key in sorted(self.finetune.model_fields_set & SET_BY_ABLATE):
            raise ValueError(f"finetune.{key} is set by the arms or beside finetune; set it there")
        if "control" not in self.arms or "none" in self.arms:
            raise ValueError("arms must hold 'control' and not 'none', which is the base itself")
        for name in self.finalists.arms or ():
            if name not in self.all_arms():
                known = ", ".join(self.all_arms())
                raise ValueError(f"finalists.arms: no arm '{name}'; there are {known}")
        return self

    def all_arms(self) -> dict[str, ArmConfig]:
        """The named arms, then those of the grid."""
        cells = itertools.product(self.grid.forms, self.grid.n, self.grid.alpha)
        return self.arms | {
            f"{form}-n{n:g}-a{alpha:g}": ArmConfig(pel=PELConfig(form=form, n=n, alpha=alpha))
            for form, n, alpha in cells
        }

    def identity(self) -> dict[str, object]:
        """What every run shares: an ablation may be given more arms and seeds later."""
        grows = {"base", "manifest", "data_root", "arms", "grid", "finalists", "select_by"}
        return {key: value for key, value in super().identity().items() if key not in grows}


class DeviationConfig(Settings):
    """Settings of `nucleipel deviation`."""

    device: Device = "auto"
    n: Annotated[float, Field(gt=0, le=4)] = 3.0
    """Exponent of the forms that are drawn; alpha would scale all pixels alike."""
    patch_px: Positive = 256
    """Side of what is drawn of larger images: the patch with the largest deviation."""


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
