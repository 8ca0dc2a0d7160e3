"""Fine-tune a trained network on patches with PEL and cross-entropy, each patch on its own."""

import dataclasses
import logging
from pathlib import Path

from lightning_fabric import Fabric

from nucleipel.config import FinetunePatchesConfig, PELConfig
from nucleipel.data.patch_samples import TrainingPatches, ValidationPatches
from nucleipel.errors import StoreError
from nucleipel.instances.instance_rule import InstanceRule
from nucleipel.instances.training_targets import CLASSES
from nucleipel.io.csv_table import read_table, write_table
from nucleipel.io.stores.patches import PatchStore, open_patch_store
from nucleipel.losses import (
    ClassesAndDistance,
    CrossEntropyRegion,
    PELoss,
    Ramp,
    build_region_loss,
)
from nucleipel.model.checkpoint import Checkpoint, Description, read_checkpoint, write_checkpoint
from nucleipel.stages.pipeline.fit_network import (
    build_augment,
    build_fit_options,
    claim_together,
    fit_network,
    log_kept,
)
from nucleipel.training.distributed import Ranks, build_fabric
from nucleipel.training.sample_deviations import summed_deviations

log = logging.getLogger(__name__)

DEVIATIONS = "deviations.csv"


def finetune_patches(
    checkpoint: Path,
    patches: Path,
    out: Path,
    config: FinetunePatchesConfig,
    *,
    overwrite: bool = False,
) -> Path:
    """Continue a checkpoint on the `train` patches of a store; keep the best PQ on its `val` ones.

    The weights that came in count too: fine-tuning that does not help on the
    validation patches changes nothing. With `keep: last` the last
    weights are kept instead and nothing stops early. A checkpoint that was
    trained on whole images, resized, becomes one that predicts window by window
    at the pixels of its patches. Writes what `train` writes into `out`, and
    returns it; with `sampling: deviation` also `deviations.csv`, by which
    patches were drawn.
    """
    start = read_checkpoint(checkpoint)
    store = open_patch_store(patches)
    _require_fit(store, start.description, checkpoint)
    _require_blocks(store, config.pel.block_px)
    inputs = {"checkpoint": start.fingerprint, "patches": store.fingerprint}
    fabric = build_fabric(config.device, config.seed, config.precision)
    ranks = Ranks(fabric)
    output = claim_together(
        ranks,
        out,
        stage="finetune-patches",
        config=config.identity(),
        inputs=inputs,
        overwrite=overwrite,
    )
    if output.complete:
        log.info("%s: this fine-tuning is finished", out)
        return out

    rows = store.of_split("train")
    options = build_fit_options(
        config,
        samples_per_epoch=config.patches_per_epoch or len(rows),
        start_counts=True,
        teacher_share=config.teacher_share,
    )
    boundary_px = start.description.boundary_px
    numbers = config.instances.over(start.description.instances)
    set_here = config.instances.over({})
    training = TrainingPatches(
        store,
        rows,
        count=options.samples,
        augment=build_augment(config.augment),
        boundary_px=boundary_px,
        seed=config.seed,
        weights=None
        if config.sampling == "uniform"
        else ranks.on_first(lambda: _deviations(fabric, start, store, out)),
    )
    kept = fit_network(
        fabric,
        start.network,
        _build_loss(config),
        training,
        ValidationPatches(store, store.of_split("val"), boundary_px=boundary_px),
        options,
        rule=InstanceRule(**numbers),
        out=out,
    )
    description = dataclasses.replace(
        start.description,
        grid=dataclasses.replace(start.description.grid, whole_image_px=None),
        instances=numbers,
        stained_instances={
            name: number
            for name, number in start.description.stained_instances.items()
            if name not in set_here
        },
        config=config.identity(),
        parent_sha256=start.sha256,
        chooses_scale=False,
    )
    ranks.on_first(
        lambda: output.commit(
            checkpoint=write_checkpoint(out, description, kept.weights), val_pq=kept.pq
        )
    )
    log_kept(kept, out, keep=config.keep)
    return out


def _deviations(fabric: Fabric, start: Checkpoint, store: PatchStore, out: Path) -> list[float]:
    """Sum the deviation of the start checkpoint in each training patch; computed once."""
    rows, path = store.of_split("train"), out / DEVIATIONS
    if not path.is_file():
        patches = ValidationPatches(store, rows, boundary_px=start.description.boundary_px)
        sums = summed_deviations(start.network, patches, device=fabric.device)
        named = zip(rows, sums, strict=True)
        table = [{"index": row.index, "image_id": row.image_id, "sum": sum_} for row, sum_ in named]
        write_table(path, table)
    return [float(row["sum"]) for row in read_table(path)]


def _build_loss(config: FinetunePatchesConfig) -> ClassesAndDistance:
    end = config.region_weight
    start = end if config.region_weight_start is None else config.region_weight_start
    pel = config.pel
    classes = CrossEntropyRegion(
        build_pel(pel) if config.region_loss == "pel" else build_region_loss(config.region_loss),
        cross_entropy_weight=config.cross_entropy_weight,
        region_weight=Ramp(start, end, config.region_weight_ramp),
        exponent=Ramp(1.0, pel.n, pel.n_ramp),
    )
    return ClassesAndDistance(classes, distance_weight=config.distance_weight)


def build_pel(config: PELConfig) -> PELoss:
    """Build PEL from its settings, with n at its final value."""
    return PELoss(
        config.form,
        config.alpha,
        config.n,
        classes=[CLASSES.index(name) for name in config.classes],
        weight=config.class_weights,
        batch=config.batch_sums,
        boundary_weight=config.boundary_weight,
        boundary_px=config.boundary_px,
        block_px=config.block_px,
    )


def _require_fit(store: PatchStore, description: Description, checkpoint: Path) -> None:
    stored = (store.mpp, store.channels)
    wanted = (description.mpp, description.network.in_channels)
    if stored != wanted:
        raise StoreError(
            f"{store.path}: patches of mpp {stored[0]} with {stored[1]} channel(s), {checkpoint}"
            f" takes mpp {wanted[0]} with {wanted[1]}; tile again with --set mpp= and channels="
        )
    stride = description.network.stride
    if store.patch_px % stride:
        raise StoreError(
            f"{store.path}: patches of {store.patch_px} px; {checkpoint} takes multiples of"
            f" {stride}; tile again with another patch_px"
        )


def _require_blocks(store: PatchStore, block_px: int | None) -> None:
    if block_px is not None and store.patch_px % block_px:
        raise StoreError(
            f"{store.path}: patches of {store.patch_px} px, which pel.block_px {block_px} does not"
            " divide; set it to a divisor"
        )
