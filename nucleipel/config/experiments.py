"""Settings of the experiments: `nucleipel ablate` and `nucleipel deviation`."""

import itertools
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nucleipel.config.pipeline.calibrate import CalibratedNumber
from nucleipel.config.pipeline.finetune_patches import (
    FinetunePatchesConfig,
    LossConfig,
    PELConfig,
    SamplingConfig,
)
from nucleipel.config.pipeline.instances import InstanceOverrides
from nucleipel.config.settings import NotNegative, Positive, Settings, Weight
from nucleipel.core.choices import Device


class ArmConfig(LossConfig, SamplingConfig):
    """One way of fine-tuning, which differs from other arms in its loss or its sampling."""


class GridConfig(Settings):
    """The PEL arms: every form with every n and alpha. Scored on val, never on test."""

    forms: tuple[Literal["jaccard", "dice", "deviation"], ...] = ("jaccard", "dice", "deviation")
    """Forms of PEL; `original` is `dice` with sums over the batch, which an arm can set."""
    n: tuple[Annotated[float, Field(gt=0, le=4)], ...] = (1.0, 2.0, 3.0)
    """Exponents."""
    alpha: tuple[Annotated[float, Field(gt=0)], ...] = (0.25, 1.0, 4.0, 20.0)
    """Factors."""
    seeds: Annotated[tuple[NotNegative, ...], Field(min_length=1)] = (0,)
    """Seeds of each arm of the grid."""


class FinalistsConfig(Settings):
    """The arms that are scored on test, and with which seeds."""

    seeds: tuple[NotNegative, ...] = (0, 1, 2, 3, 4)
    """Seeds of the finalists; without any, the ablation ends after the grid."""
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
    """CSV of images; the option --manifest replaces it."""
    data_root: str | None = None
    """Folder that the manifest's paths start from; without it, the manifest's own."""
    device: Device = "auto"
    """Where the network runs; auto takes a GPU where there is one."""
    workers: NotNegative = 2
    """Processes that prepare samples, for each run; 0 for none."""
    jobs: Positive = 1
    """Runs at a time, each in a process of its own."""
    threads: Positive = 1
    """CPU threads of each run; another number rounds another way."""
    patch_px: Positive = 256
    """Side of a patch."""
    overlap_px: NotNegative = 64
    """Pixels that neighboring patches share, at least."""
    finetune: FinetunePatchesConfig = FinetunePatchesConfig()
    """Settings that the arms share: steps, learning rate, augmentation; not loss or sampling."""
    instances: InstanceOverrides = InstanceOverrides()
    """Numbers that replace those of the base, in validation and for the scores."""
    calibrate: tuple[CalibratedNumber, ...] = ("foreground_percent", "min_probability_percent")
    """Numbers chosen on val for each run, the base too, before it is scored: once by Dice, for
    its Dice, and once by PQ, for all else. None: all runs are scored with the base's numbers."""
    arms: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], ArmConfig] = ARMS
    """Arms by name; `control` goes on with the base's own loss. `none`, the base, always exists."""
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
        for name, arm in self.arms.items():
            if arm.pel.block_px is not None and self.patch_px % arm.pel.block_px:
                raise ValueError(
                    f"arms.{name}.pel.block_px {arm.pel.block_px} does not divide patch_px"
                    f" {self.patch_px}; set it to a divisor"
                )
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

    def to_file(self) -> dict[str, object]:
        """All of it as plain JSON types, for a file that `--config` takes."""
        # an arm without PEL stores none: a changed default would contradict its loss
        silent = {name: {"pel"} for name, arm in self.arms.items() if arm.region_loss != "pel"}
        return self.model_dump(
            mode="json", exclude={"finetune": set(SET_BY_ABLATE), "arms": silent}
        )

    def identity(self) -> dict[str, object]:
        """Settings that every run shares: arms and seeds may be added later."""
        grows = {"base", "manifest", "data_root", "arms", "grid", "finalists", "select_by"}
        return {key: value for key, value in super().identity().items() if key not in grows}


class DeviationConfig(Settings):
    """Settings of `nucleipel deviation`."""

    device: Device = "auto"
    """Where the network runs; auto takes a GPU where there is one."""
    n: Annotated[float, Field(gt=0, le=4)] = 3.0
    """Exponent of the forms that are drawn; alpha would scale all pixels alike."""
    patch_px: Positive = 256
    """Side of what is drawn of larger images: the patch with the largest deviation."""
