"""Train a network on whole images and slides."""

import logging
from pathlib import Path

from torch.utils.data import Dataset

from nucleipel.config import TrainConfig
from nucleipel.core.intensity import HIGH_PERCENTILE, LOW_PERCENTILE
from nucleipel.data.sample import Sample
from nucleipel.data.whole_images import WholeTrainingImages, WholeValidationImages
from nucleipel.data.windows import TrainingWindows, ValidationWindows, annotated_images
from nucleipel.errors import CheckpointError, ConfigError
from nucleipel.instances.instance_rule import InstanceRule
from nucleipel.instances.training_targets import CLASSES, MAPS
from nucleipel.io.manifest import Manifest, read_manifest
from nucleipel.io.slides.slide_reader import SlideReader
from nucleipel.losses import ClassesAndDistance, CrossEntropyDice
from nucleipel.model.checkpoint import (
    Checkpoint,
    build_description,
    read_checkpoint,
    write_checkpoint,
)
from nucleipel.model.network import NetworkSpec, build_network
from nucleipel.stages.pipeline.fit_network import (
    build_augment,
    build_fit_options,
    claim_together,
    fit_network,
    log_kept,
)
from nucleipel.stages.pipeline.reader_settings import build_slide_reader
from nucleipel.training.distributed import Ranks, build_fabric

log = logging.getLogger(__name__)


def train(
    manifest: Path | Manifest,
    out: Path,
    config: TrainConfig,
    *,
    checkpoint: Path | None = None,
    data_root: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Train on the `train` rows of a manifest; keep the weights with the best PQ on `val`.

    With `keep: last` the last weights are kept, with any PQ: it is that of
    the uncalibrated rule, which may suit another network better.

    With a `checkpoint`, its weights are the start and its network is trained,
    not that of `config.network`. The start counts, as epoch 0: a training that does
    not help on val changes nothing. A network whose maps depend on the windows that
    an image is cut into is refused unless the config accepts seams.

    Writes the checkpoint, `metrics.csv`, `curves.png`, TensorBoard events and
    the resolved config into `out`, and returns it.
    """
    rows = (
        manifest
        if isinstance(manifest, Manifest)
        else read_manifest(
            manifest, data_root=data_root, needed=("train", "val"), series=config.series
        )
    )
    train_rows, val_rows = rows.of_split("train").annotated(), rows.of_split("val").annotated()
    start = read_checkpoint(checkpoint) if checkpoint else None
    if start:
        _require_fit(start, config, checkpoint)
    spec = start.description.network if start else network_spec(config)
    _require_exact(spec, config, checkpoint)
    for split in (train_rows, val_rows):
        split.require_readable(_reader(config))
    inputs = {
        "train images": train_rows.fingerprint(column=config.balance_by),
        "val images": val_rows.fingerprint(),
    }
    if start:
        inputs["checkpoint"] = start.fingerprint
    fabric = build_fabric(config.device, config.seed, config.precision)
    ranks = Ranks(fabric)
    output = claim_together(
        ranks, out, stage="train", config=config.identity(), inputs=inputs, overwrite=overwrite
    )
    if output.complete:
        log.info("%s: this training is finished", out)
        return out

    network = start.network if start else build_network(spec)
    options = build_fit_options(
        config, samples_per_epoch=config.windows_per_epoch, start_counts=start is not None
    )
    kept = fit_network(
        fabric,
        network,
        ClassesAndDistance(
            CrossEntropyDice(config.cross_entropy_weight, config.dice_weight),
            distance_weight=config.distance_weight,
        ),
        _training_samples(train_rows, config, count=options.samples),
        _validation_samples(val_rows, config),
        options,
        rule=InstanceRule(**config.instances.model_dump()),
        out=out,
    )
    description = build_description(
        network,
        spec,
        mpp=config.mpp,
        core_px=config.core_px,
        whole_image_px=_whole_image_px(config),
        boundary_px=config.boundary_px,
        maps=MAPS,
        instances=config.instances.model_dump(),
        config=config.identity(),
        percentiles=config.percentiles or (LOW_PERCENTILE, HIGH_PERCENTILE),
    )
    ranks.on_first(
        lambda: output.commit(
            checkpoint=write_checkpoint(out, description, kept.weights), val_pq=kept.pq
        )
    )
    log_kept(kept, out, keep=config.keep)
    return out


def _require_fit(start: Checkpoint, config: TrainConfig, checkpoint: Path | None) -> None:
    spec = start.description.network
    if spec.in_channels != config.channels:
        raise CheckpointError(
            f"{checkpoint}: takes {spec.in_channels} channels, this training {config.channels};"
            f" set channels={spec.in_channels}"
        )
    for name in ("window_px", "core_px"):
        if getattr(config, name) % spec.stride:
            raise CheckpointError(
                f"{checkpoint}: its network has a stride of {spec.stride} px, {name} is"
                f" {getattr(config, name)}; set {name} to a multiple of it"
            )


def _require_exact(spec: NetworkSpec, config: TrainConfig, checkpoint: Path | None) -> None:
    """Refuse a network without a bounded window, unless its seams are accepted."""
    if spec.is_bounded or config.accept_seams:
        return
    why = (
        "its statistics are those of the whole window, which no halo can cover, so maps, and nuclei"
        " where windows meet, would depend on how an image is cut"
    )
    accept = "accept seams with accept_seams=true"
    if checkpoint:
        raise CheckpointError(
            f"{checkpoint}: its network has {spec.norm} norm: {why}; start from a checkpoint with"
            f" batch norm, or {accept}"
        )
    raise ConfigError(f"network.norm is {spec.norm}: {why}; set network.norm=batch, or {accept}")


def _reader(config: TrainConfig) -> SlideReader:
    return build_slide_reader(
        config, at_mpp=config.mpp, channels=config.channels, whole_image_px=_whole_image_px(config)
    )


def _whole_image_px(config: TrainConfig) -> int | None:
    return config.window_px if config.whole_images else None


def network_spec(config: TrainConfig) -> NetworkSpec:
    """The network that a training without a checkpoint begins with."""
    return NetworkSpec(
        family=config.network.family,
        features=config.network.features,
        residual_units=config.network.residual_units,
        in_channels=config.channels,
        classes=len(CLASSES),
        block_px=config.network.block_px,
        norm=config.network.norm,
    )


def _training_samples(rows: Manifest, config: TrainConfig, *, count: int) -> Dataset[Sample]:
    images = annotated_images(rows, _reader(config))
    if config.whole_images:
        return WholeTrainingImages(
            images,
            count=count,
            side_px=config.window_px,
            augment=build_augment(config.augment),
            channels=config.channels,
            boundary_px=config.boundary_px,
            seed=config.seed,
        )
    return TrainingWindows(
        images,
        groups=list(rows.grouped(config.balance_by).values()) if config.balance_by else None,
        count=count,
        window_px=config.window_px,
        scale_range=config.augment.scale_range,
        augment=build_augment(config.augment),
        channels=config.channels,
        boundary_px=config.boundary_px,
        seed=config.seed,
    )


def _validation_samples(rows: Manifest, config: TrainConfig) -> Dataset[Sample]:
    images = annotated_images(rows, _reader(config))
    if config.whole_images:
        return WholeValidationImages(
            images,
            limit=config.validation_windows,
            side_px=config.window_px,
            channels=config.channels,
            boundary_px=config.boundary_px,
        )
    return ValidationWindows(
        images,
        limit=config.validation_windows,
        window_px=config.window_px,
        channels=config.channels,
        boundary_px=config.boundary_px,
    )
