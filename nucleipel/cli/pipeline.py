"""The commands of the pipeline, from manifest to scores."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nucleipel.cli import options
from nucleipel.core.garbage import collector_paused
from nucleipel.core.machine import wait_without_spinning
from nucleipel.core.run_options import RunOptions
from nucleipel.core.shard import WHOLE

if TYPE_CHECKING:
    from nucleipel.stages.cluster.dask_workers import Cluster


@click.command()
@options.manifest
@options.data_root
@click.option(
    "--checkpoint",
    type=options.PATH,
    help="Start from these weights and their network; 'default' comes with the package.",
)
@options.out("Folder for the run.")
@options.settings
@options.reading
@options.device
def train(
    manifest: Path,
    data_root: Path | None,
    checkpoint: Path | None,
    out: Path,
    overwrite: bool,
    **values: Any,
) -> None:
    """Train a network on whole images and slides.

    Learns from the rows whose split is train; keeps the weights that score the
    best PQ on those of val.
    """
    from nucleipel.config import TrainConfig

    config = options.load(TrainConfig, values)
    from nucleipel.stages.pipeline.train import train as run

    click.echo(
        run(
            manifest, out, config,
            checkpoint=checkpoint, data_root=data_root, overwrite=overwrite,
        )
    )  # fmt: skip


@click.command()
@options.rows
@options.checkpoint_or_default
@options.out("Folder for the regions, one GeoJSON an image.")
@options.settings
@options.prediction
def suggest(checkpoint: Path, out: Path, overwrite: bool, **values: Any) -> None:
    """Suggest regions to annotate, for QuPath.

    Those in which the network is least sure. Give IMAGES one by one, or a
    --manifest. --set regions=N and --set size_um=UM choose how many and how large.
    """
    from nucleipel.config import SuggestConfig

    config = options.load(SuggestConfig, values)
    rows = options.read_rows(values, series=config.series)
    from nucleipel.stages.pipeline.suggest import suggest as run

    click.echo(run(checkpoint, rows, out, config, overwrite=overwrite))


@click.command()
@options.manifest
@options.data_root
@options.checkpoint_or_default
@options.out("Folder for the checkpoint and the report.")
@options.settings
@options.reading
@options.device
def finetune(
    manifest: Path,
    data_root: Path | None,
    checkpoint: Path,
    out: Path,
    overwrite: bool,
    **values: Any,
) -> None:
    """Fine-tune on few images of your own, if that is better.

    For 1 to 20 annotated images or regions. Trains on each half, scores on the
    other, and keeps the start where that is not better. Rows whose split is
    test are not used.
    """
    from nucleipel.config import FinetuneConfig

    config = options.load(FinetuneConfig, values)
    from nucleipel.stages.pipeline.finetune import finetune as run

    click.echo(
        run(
            manifest, out, config,
            checkpoint=checkpoint, data_root=data_root, overwrite=overwrite,
        )
    )  # fmt: skip


@click.command()
@options.manifest
@options.data_root
@options.out("Zarr store for the patches.")
@options.settings
@options.reading
@options.shard("shard of the store")
@options.cluster
def tile(
    manifest: Path,
    data_root: Path | None,
    out: Path,
    **values: Any,
) -> None:
    """Cut annotated images into overlapping patches in zarr."""
    from nucleipel.config import TileConfig

    config = options.load(TileConfig, values)
    run_options = options.read_run_options(values)
    cluster = options.read_cluster(values)
    from nucleipel.stages.pipeline.tile import share_tile as share
    from nucleipel.stages.pipeline.tile import tile as run

    stage = _here_or_on(cluster, run, share)
    click.echo(stage(manifest, out, config, data_root=data_root, options=run_options))


@click.command("finetune-patches")
@options.checkpoint
@click.option("--patches", type=options.PATH, required=True, help="Store written by tile.")
@options.out("Folder for the run.")
@options.settings
@options.device
def finetune_patches(
    checkpoint: Path, patches: Path, out: Path, overwrite: bool, **values: Any
) -> None:
    """Fine-tune a checkpoint on patches with PEL.

    Cross-entropy goes with it; --set region_loss=... takes other losses.
    """
    from nucleipel.config import FinetunePatchesConfig

    config = options.load(FinetunePatchesConfig, values)
    from nucleipel.stages.pipeline.finetune_patches import finetune_patches as run

    click.echo(run(checkpoint, patches, out, config, overwrite=overwrite))


@click.command()
@options.checkpoint
@options.manifest
@options.split
@options.data_root
@options.out("Folder for the calibrated checkpoint.")
@options.settings
@options.device
def calibrate(
    checkpoint: Path,
    manifest: Path,
    split: str | None,
    data_root: Path | None,
    out: Path,
    overwrite: bool,
    **values: Any,
) -> None:
    """Choose how maps become nuclei, by PQ on val images.

    Give it the split that was not trained on and will not be reported: val.
    --set 'measures=[pq, aji, dice]' seeks the best mean of the three.
    """
    from nucleipel.config import CalibrateConfig
    from nucleipel.io.manifest import read_manifest

    config = options.load(CalibrateConfig, values)
    rows = read_manifest(manifest, data_root=data_root, needed=(split,) if split else None)
    rows = rows.of_split(split) if split else rows
    from nucleipel.stages.pipeline.calibrate import calibrate as run

    click.echo(run(checkpoint, rows, out, config, overwrite=overwrite))


@click.command()
@click.argument("checkpoints", nargs=-1, type=options.PATH, metavar="RUN RUN...", required=True)
@options.out("Folder for the mean checkpoint.")
def average(checkpoints: tuple[Path, ...], out: Path, overwrite: bool) -> None:
    """Average the weights of runs with one origin.

    The runs were trained on from one checkpoint; their mean is often better
    than each, and forgets less. A run that is named twice counts twice;
    'default' comes with the package. Calibrate the mean.
    """
    from nucleipel.stages.pipeline.average import average as run

    click.echo(run(checkpoints, out, overwrite=overwrite))


@click.command()
@options.rows
@options.checkpoint
@options.out("Zarr store for the probability maps.")
@options.settings
@options.prediction
@options.shard("part (an image, or a part of a large slide)")
@options.complete_anyway
@options.cluster
def predict(checkpoint: Path, out: Path, **values: Any) -> None:
    """Predict class probabilities of images and slides.

    Give IMAGES one by one, or a --manifest.
    """
    from nucleipel.config import PredictConfig

    config = options.load(PredictConfig, values)
    run_options = options.read_run_options(values)
    cluster = options.read_cluster(values)
    rows = options.read_rows(values, series=config.series)
    from nucleipel.stages.pipeline.predict import predict as run
    from nucleipel.stages.pipeline.predict import share_predict as share

    stage = _here_or_on(cluster, run, share)
    click.echo(stage(checkpoint, rows, out, config, options=run_options))


@click.command()
@click.option("--predictions", type=options.PATH, help="Store written by predict.")
@click.option(
    "--maps", type=options.PATH, help="Or the map of any other network: zarr, TIFF or NPY."
)
@click.option(
    "--channels",
    metavar="NAME=I,...",
    help="What is in them: foreground=0; interior=0,boundary=1; ...,distance=2.",
)
@click.option(
    "--checkpoint",
    type=options.PATH,
    help="Or any other network itself, for --image: ONNX, or a bioimage.io package.",
)
@click.option(
    "--image", type=options.PATH, help="The image of --checkpoint; of --maps, to measure in."
)
@click.option("--mpp", "map_mpp", type=float, metavar="UM", help="Pixel size of --maps or --image.")
@options.out("Folder for the instances, one folder an image.")
@options.settings
@options.outputs
@options.resources
@options.shard("part (an image, or a part of a large slide)")
@options.complete_anyway
@options.cluster
def stitch(
    predictions: Path | None,
    maps: Path | None,
    checkpoint: Path | None,
    out: Path,
    **values: Any,
) -> None:
    """Turn probability maps into instance maps and tables.

    Of predictions; of --maps that another program made; or of an --image, which a
    --checkpoint of another program predicts first.
    """
    if sum(source is not None for source in (predictions, maps, checkpoint)) != 1:
        raise click.UsageError("give --predictions, --maps or --checkpoint: one of the three")
    run_options = options.read_run_options(values)
    cluster = options.read_cluster(values)
    if cluster is not None and predictions is None:
        raise click.UsageError("--maps and --checkpoint are stitched in this process")
    if maps is not None:
        click.echo(_stitch_maps(maps, out, run_options, values))
        return
    if checkpoint is not None:
        click.echo(_stitch_model(checkpoint, out, run_options, values))
        return
    for option in ("channels", "image", "map_mpp"):
        if values[option] is not None:
            raise click.UsageError("--channels, --image and --mpp go with --maps or --checkpoint")
    from nucleipel.config import StitchConfig

    config = options.load(StitchConfig, values)
    from nucleipel.stages.pipeline.stitch import share_stitch as share
    from nucleipel.stages.pipeline.stitch import stitch as run

    stage = _here_or_on(cluster, run, share)
    click.echo(stage(predictions, out, config, options=run_options))


def _stitch_maps(maps: Path, out: Path, run_options: RunOptions, values: dict[str, Any]) -> Path:
    from nucleipel.config import StitchMapsConfig

    channels = options.read_channels(values["channels"])
    config = options.load(
        StitchMapsConfig,
        {**values, "channels": channels},
        shorts={"channels": "channels", "map_mpp": "mpp"},
    )
    from nucleipel.stages.pipeline.stitch_maps import stitch_maps as run

    return run(maps, out, config, image=values["image"], options=run_options)


def _stitch_model(
    checkpoint: Path, out: Path, run_options: RunOptions, values: dict[str, Any]
) -> Path:
    if values["image"] is None:
        raise click.UsageError("--checkpoint needs an --image")
    if run_options.shard != WHOLE:
        raise click.UsageError("--checkpoint is not shared in shards; predict takes the model, too")
    from nucleipel.config import StitchModelConfig
    from nucleipel.io.manifest import manifest_of_images

    channels = options.read_channels(values["channels"])
    config = options.load(
        StitchModelConfig,
        {**values, "channels": channels},
        shorts={"channels": "channels", "map_mpp": "source_mpp"},
    )
    rows = manifest_of_images([values["image"]], series=config.series)
    from nucleipel.stages.pipeline.stitch_model import stitch_model as run

    return run(checkpoint, rows, out, config, options=run_options)


@click.command()
@options.rows
@options.checkpoint_or_default
@options.out("Folder for the instances, one folder an image.")
@options.settings
@options.prediction
@options.outputs
@options.resources
@options.complete_anyway
@options.cluster
def segment(checkpoint: Path, out: Path, **values: Any) -> None:
    """Predict and stitch in one go.

    Give IMAGES one by one, or a --manifest.
    """
    wait_without_spinning()
    with collector_paused():
        from nucleipel.config import SegmentConfig

        config = options.load(SegmentConfig, values)
        run_options = options.read_run_options(values)
        cluster = options.read_cluster(values)
        rows = options.read_rows(values, series=config.series)
        from nucleipel.stages.pipeline.segment import segment as run
        from nucleipel.stages.pipeline.segment import share_segment as share

    stage = _here_or_on(cluster, run, share)
    click.echo(stage(checkpoint, rows, out, config, options=run_options))


@click.command()
@options.manifest
@options.split
@options.data_root
@click.option("--by", metavar="COLUMN", help="Also for each value of a column of the manifest.")
@click.option(
    "--instances", type=options.PATH, required=True, help="Folder written by stitch or segment."
)
@options.out("JSON file for the report; a CSV of the same name gets one row an image.")
@options.settings
@options.allow_missing
def evaluate(
    manifest: Path,
    split: str | None,
    data_root: Path | None,
    by: str | None,
    instances: Path,
    out: Path,
    overwrite: bool,
    allow_missing: bool,
    **values: Any,
) -> None:
    """Score instance maps by annotations: Dice, AJI, PQ, AP."""
    from nucleipel.config import EvaluateConfig

    config = options.load(EvaluateConfig, values)
    from nucleipel.stages.pipeline.evaluate import evaluate as run

    report = run(
        manifest, instances, out, config,
        split=split, by=by, data_root=data_root, overwrite=overwrite, allow_missing=allow_missing,
    )  # fmt: skip
    for value, part in {**report.get("groups", {}), "": report}.items():
        title = f"{by} {value}: " if value else ""
        click.echo(f"{title}{part['images']} images, {part['annotated_nuclei']} annotated nuclei")
        click.echo(f"{'':16}{'mean over images':>18}{'pooled over nuclei':>20}")
        for name, mean in part["mean_over_images"].items():
            click.echo(f"{name:16}{mean:18.4f}{part['pooled_over_nuclei'][name]:20.4f}")


def _here_or_on(
    cluster: "Cluster | None", run: Callable[..., Path], share: Callable[..., Any]
) -> Callable[..., Path]:
    """Do a stage in this process, or share it out to the workers of a cluster."""
    if cluster is None:
        return run
    from nucleipel.stages.cluster.distribute import distribute

    return lambda *arguments, **more: distribute(cluster, share(*arguments, **more))
