"""What `train` and `finetune-patches` share: from settings to plain values, and the fit itself.

Config stops here: the floors below take numbers, arrays and functions.
"""

import copy
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import Dataset

from nucleipel.config import AugmentConfig
from nucleipel.config.pipeline.train import FitConfig
from nucleipel.data.augment import Augment
from nucleipel.data.sample import Sample
from nucleipel.instances.rule import InstanceRule
from nucleipel.io.records.output import Output, claim_output
from nucleipel.losses import ClassesAndDistance
from nucleipel.training.distributed import Ranks
from nucleipel.training.fit import Best, Schedule, fit
from nucleipel.training.validation import validator


def claim_together(
    ranks: Ranks,
    folder: Path,
    *,
    stage: str,
    config: dict[str, Any],
    inputs: dict[str, str],
    overwrite: bool,
) -> Output:
    """Take an output folder for all processes of a training: the first one claims it.

    Raises
    ------
    OutputError
        As `claim_output` does, in the first process.
    """
    claimed: list[Output] = []

    def claim() -> dict[str, Any]:
        claimed.append(
            claim_output(folder, stage=stage, config=config, inputs=inputs, overwrite=overwrite)
        )
        return claimed[0].record

    record = ranks.on_first(claim)
    return claimed[0] if claimed else Output(folder, record)


def build_augment(config: AugmentConfig) -> Augment:
    """How samples are varied; the scale is drawn where windows are."""
    return Augment(
        rotate_degrees=config.rotate_degrees,
        intensity=config.intensity,
        stain=config.stain,
        gray_stained=config.gray_stained,
        crowded=config.crowded,
        as_dye=config.as_dye,
    )


def build_schedule(config: FitConfig, *, samples_per_epoch: int) -> Schedule:
    """How long and how fast to train; an epoch is filled up to whole batches."""
    return Schedule(
        epochs=config.epochs,
        steps_per_epoch=-(-samples_per_epoch // config.batch_size),
        batch_size=config.batch_size,
        optimizer=config.optimizer,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup_steps,
        ema_decay=config.ema_decay,
        clip_norm=config.clip_norm,
        validate_every=config.validate_every,
        patience=config.patience,
    )


def fit_network(
    fabric: Fabric,
    network: nn.Module,
    loss: ClassesAndDistance,
    training: Dataset[Sample],
    validation: Dataset[Sample],
    config: FitConfig,
    schedule: Schedule,
    *,
    rule: InstanceRule,
    out: Path,
    start_counts: bool = False,
    keep_last: bool = False,
    teacher_share: float = 0.0,
) -> Best:
    """Fit a network to `training`, judged by the instances that it gives on `validation`."""
    validate = validator(
        validation,
        # its curve tells something only if it stays one loss: as it is at the end of a schedule
        copy.deepcopy(loss),
        device=fabric.device,
        rule=rule,
        batch_size=config.batch_size,
        workers=config.workers,
    )
    return fit(
        fabric,
        network,
        loss,
        training,
        validate,
        schedule=schedule,
        workers=config.workers,
        out=out,
        start_counts=start_counts,
        keep_last=keep_last,
        teacher_share=teacher_share,
        set_progress=loss.set_progress,
    )
