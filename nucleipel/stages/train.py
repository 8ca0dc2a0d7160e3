"""Train a network on whole images and slides."""

import logging
from pathlib import Path

from nucleipel.config import TrainConfig
from nucleipel.data.windows import TrainingWindows, ValidationWindows, annotated_images
from nucleipel.instances.targets import CLASSES
from nucleipel.io.manifest import read_manifest
from nucleipel.io.output import claim_output
from nucleipel.losses import CrossEntropyDice
from nucleipel.model.checkpoint import build_description, write_checkpoint
from nucleipel.model.network import NetworkSpec, build_network
from nucleipel.stages.settings import build_augment, build_rule, build_schedule
from nucleipel.training.fit import build_fabric, fit
from nucleipel.training.validation import validator

log = logging.getLogger(__name__)


def train(
    manifest: Path,
    out: Path,
    config: TrainConfig,
    *,
    data_root: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Train on the `train` rows of a manifest; keep the weights with the best PQ on `val`.

    Writes the checkpoint, `metrics.csv`, `curves.png`, TensorBoard events and
    the resolved config into `out`, and returns it.
    """
    rows = read_manifest(manifest, data_root=data_root)
    train_rows, val_rows = rows.of_split("train").annotated(), rows.of_split("val").annotated()
    inputs = {"train images": train_rows.fingerprint(), "val images": val_rows.fingerprint()}
    output = claim_output(
        out, stage="train", config=config.identity(), inputs=inputs, overwrite=overwrite
    )
    if output.complete:
        log.info("%s: this training is finished", out)
        return out

    fabric = build_fabric(config.device, config.seed)
    spec = NetworkSpec(
        family=config.network.family,
        features=config.network.features,
        residual_units=config.network.residual_units,
        in_channels=config.channels,
        classes=len(CLASSES),
    )
    network = build_network(spec)
    schedule = build_schedule(config, samples_per_epoch=config.windows_per_epoch)
    training = TrainingWindows(
        annotated_images(train_rows, mpp=config.mpp, channels=config.channels),
        count=schedule.samples,
        window_px=config.window_px,
        scale_range=config.augment.scale_range,
        augment=build_augment(config.augment),
        channels=config.channels,
        boundary_px=config.boundary_px,
        seed=config.seed,
    )
    validation = ValidationWindows(
        annotated_images(val_rows, mpp=config.mpp, channels=config.channels),
        limit=config.validation_windows,
        window_px=config.window_px,
        channels=config.channels,
        boundary_px=config.boundary_px,
    )
    loss = CrossEntropyDice(
        cross_entropy_weight=config.cross_entropy_weight, dice_weight=config.dice_weight
    )
    validate = validator(
        validation,
        loss,
        device=fabric.device,
        rule=build_rule(config.instances),
        batch_size=config.batch_size,
        workers=config.workers,
    )
    best = fit(
        fabric, network, loss, training, validate,
        schedule=schedule, workers=config.workers, out=out,
    )  # fmt: skip
    description = build_description(
        network, spec,
        mpp=config.mpp,
        core_px=config.core_px,
        boundary_px=config.boundary_px,
        classes=CLASSES,
        config=config.identity(),
    )  # fmt: skip
    output.commit(checkpoint=write_checkpoint(out, description, best.weights), val_pq=best.pq)
    log.info("%s: best PQ on val %.4f, after epoch %d", out, best.pq, best.epoch)
    return out
