"""Parts that `train` and `finetune-patches` share: settings as plain values, and the fit itself.

Config stops here: the floors below take numbers, arrays and functions.
"""

import copy
import logging
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import Dataset

from nucleipel.config import AugmentConfig
from nucleipel.config.pipeline.train import FitConfig
from nucleipel.data.augment import Augment
from nucleipel.data.sample import Sample
from nucleipel.instances.instance_rule import InstanceRule
from nucleipel.io.records.output import Output, claim_output
from nucleipel.losses import ClassesAndDistance
from nucleipel.training.distributed import Ranks
from nucleipel.training.fit import FitOptions, KeptWeights, fit
from nucleipel.training.validation import validator

log = logging.getLogger(__name__)


def claim_together(
    ranks: Ranks,
    folder: Path,
    *,
    stage: str,
    config: dict[str, Any],
    inputs: dict[str, str],
    overwrite: bool,
) -> Output:
    """Claim an output folder for all processes of a training: the first one does it.

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
    """The settings as `Augment`; the scale is drawn where windows are."""
    return Augment(
        rotate_degrees=config.rotate_degrees,
        intensity=config.intensity,
        stain=config.stain,
        gray_stained=config.gray_stained,
        crowded=config.crowded,
        as_dye=config.as_dye,
        uneven=config.uneven,
        veiled=config.veiled,
        coarse=config.coarse,
    )


def build_fit_options(config: FitConfig, *, samples_per_epoch: int, **more: Any) -> FitOptions:
    """The settings as `FitOptions`, with `more` of them; an epoch is filled up to whole batches."""
    return FitOptions(
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
        workers=config.workers,
        keep_last=config.keep == "last",
        **more,
    )


def fit_network(
    fabric: Fabric,
    network: nn.Module,
    loss: ClassesAndDistance,
    training: Dataset[Sample],
    validation: Dataset[Sample],
    options: FitOptions,
    *,
    rule: InstanceRule,
    out: Path,
) -> KeptWeights:
    """Fit a network to `training`; `validation` scores the instances that `rule` gives."""
    validate = validator(
        validation,
        # a validation loss is comparable only if it stays one loss: as at the end of a schedule
        copy.deepcopy(loss),
        device=fabric.device,
        rule=rule,
        batch_size=options.batch_size,
        workers=options.workers,
    )
    return fit(fabric, network, loss, training, validate, options=options, out=out)


def log_kept(kept: KeptWeights, out: Path, *, keep: str) -> None:
    """Log the PQ on val of the weights kept; warn if training did not raise it."""
    if kept.pq == 0:
        log.warning(
            "%s: PQ on val is 0, no annotated nucleus was found: train for longer,"
            " or see whether val has nuclei", out,
        )  # fmt: skip
    elif kept.start_pq is not None and kept.epoch == 0:
        log.warning(
            "%s: no epoch has a better PQ on val than the checkpoint (%.4f): its weights are kept,"
            " unchanged; a lower learning_rate or more epochs may help",
            out, kept.start_pq,
        )  # fmt: skip
    elif kept.start_pq is not None and kept.pq < kept.start_pq:
        log.warning(
            "%s: PQ on val fell from %.4f of the checkpoint to %.4f; keep=best keeps the better",
            out, kept.start_pq, kept.pq,
        )  # fmt: skip
    log.info("%s: %s PQ on val %.4f, after epoch %d", out, keep, kept.pq, kept.epoch)
