"""The stages that train, and scores: each is the command of its name."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nucleipel.api.arguments import as_path, require_labels, settings_of
from nucleipel.config import (
    FinetuneConfig,
    FinetunePatchesConfig,
    SuggestConfig,
    TileConfig,
    TrainConfig,
)
from nucleipel.core.run_options import RunOptions
from nucleipel.errors import ArgumentError
from nucleipel.metrics.scores import AP_THRESHOLDS, ImageScore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nucleipel.api.model import Model


def train(
    manifest: Path | str,
    *,
    out: Path | str,
    checkpoint: Path | str | None = None,
    data_root: Path | str | None = None,
    overwrite: bool = False,
    config: Path | str | None = None,
    **settings: Any,
) -> "Model":
    """Train a network on the images of a manifest: `nucleipel train`.

    Parameters
    ----------
    manifest : Path or str
        CSV with the columns `image`, `label`, `split`, ... (data_manifests/README.md).
    out : Path or str
        Folder for the run. A call that was interrupted continues there.
    checkpoint : Path or str, optional
        A run to start from, or "default".
    data_root : Path or str, optional
        Folder that the manifest's paths start from; by default its own.
    overwrite : bool
        Whether another run in `out` is replaced.
    config : Path or str, optional
        A YAML file of settings.
    **settings
        Any setting of the command: `epochs=4`, `mpp=0.5`, `network={"features": [16, 32]}`, ...

    Returns
    -------
    Model

    Raises
    ------
    NucleipelError
        As the command.
    """
    from nucleipel.api.model import load
    from nucleipel.stages.pipeline.train import train as run

    chosen = settings_of(TrainConfig, settings, function="train", config=config, shorts={})
    return load(
        run(
            as_path(manifest, "manifest"),
            as_path(out, "out"),
            chosen,
            checkpoint=_path(checkpoint, "checkpoint"),
            data_root=_path(data_root, "data_root"),
            overwrite=overwrite,
        )
    )


def finetune(
    manifest: Path | str,
    *,
    out: Path | str,
    checkpoint: Path | str = "default",
    data_root: Path | str | None = None,
    overwrite: bool = False,
    config: Path | str | None = None,
    **settings: Any,
) -> "Model":
    """Fine-tune on few annotated images, and keep the start if it is better: `nucleipel finetune`.

    Parameters
    ----------
    manifest : Path or str
        CSV with the columns `image` and `label`; the images of a `source_id` stay together, rows
        whose `split` is test are not used.
    out : Path or str
        Folder for the checkpoint and `report.json`, which says what was kept and why.
    checkpoint : Path or str
        The start: "default", or the folder of a run.
    data_root, overwrite, config, **settings
        As of `train`: `windows=1024`, ...

    Returns
    -------
    Model

    Raises
    ------
    NucleipelError
        As the command.
    """
    from nucleipel.api.model import load
    from nucleipel.stages.pipeline.finetune import finetune as run

    chosen = settings_of(FinetuneConfig, settings, function="finetune", config=config, shorts={})
    return load(
        run(
            as_path(manifest, "manifest"),
            as_path(out, "out"),
            chosen,
            checkpoint=as_path(checkpoint, "checkpoint"),
            data_root=_path(data_root, "data_root"),
            overwrite=overwrite,
        )
    )


def suggest(
    images: "Path | str | Sequence[Path | str]",
    *,
    out: Path | str,
    checkpoint: Path | str = "default",
    overwrite: bool = False,
    config: Path | str | None = None,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Suggest regions to annotate: `nucleipel suggest`.

    Parameters
    ----------
    images : Path, str or sequence of them
        Images and slides.
    out : Path or str
        Folder for the regions, a GeoJSON for QuPath an image.
    checkpoint : Path or str
        The network that is unsure: "default", or the folder of a run.
    overwrite, config, **settings
        As of `train`: `regions=10`, `size_um=50`, `mpp=0.5`, ...

    Returns
    -------
    list of dict
        `id`, `doubt` (0 to 1), and `y0`, `x0`, `y1`, `x1` in pixels of the image; the region
        to annotate first comes first.

    Raises
    ------
    NucleipelError
        As the command.
    """
    from nucleipel.io.csv_table import read_table
    from nucleipel.io.manifest import manifest_of_images
    from nucleipel.stages.pipeline.suggest import TABLE
    from nucleipel.stages.pipeline.suggest import suggest as run

    chosen = settings_of(SuggestConfig, settings, function="suggest", config=config)
    paths = images if isinstance(images, list | tuple) else [images]
    rows = manifest_of_images([as_path(path, "images") for path in paths], series=chosen.series)
    start, folder = as_path(checkpoint, "checkpoint"), as_path(out, "out")
    folder = run(start, rows, folder, chosen, overwrite=overwrite)
    numbers = ("y0", "x0", "y1", "x1", "doubt")
    table = read_table(folder / TABLE)
    return [{"id": row["id"], **{name: float(row[name]) for name in numbers}} for row in table]


def tile(
    manifest: Path | str,
    *,
    out: Path | str,
    data_root: Path | str | None = None,
    overwrite: bool = False,
    config: Path | str | None = None,
    **settings: Any,
) -> Path:
    """Cut annotated images into patches for `finetune_patches`: `nucleipel tile`.

    Parameters and errors as of `train`; `out` is a zarr store.

    Returns
    -------
    Path
        The store.
    """
    from nucleipel.stages.pipeline.tile import tile as run

    chosen = settings_of(TileConfig, settings, function="tile", config=config, shorts={})
    options = RunOptions(overwrite=overwrite)
    store = as_path(out, "out")
    root = _path(data_root, "data_root")
    return run(as_path(manifest, "manifest"), store, chosen, data_root=root, options=options)


def finetune_patches(
    checkpoint: Path | str,
    patches: Path | str,
    *,
    out: Path | str,
    overwrite: bool = False,
    config: Path | str | None = None,
    **settings: Any,
) -> "Model":
    """Fine-tune a checkpoint on patches with PEL: `nucleipel finetune-patches`.

    Parameters
    ----------
    checkpoint : Path or str
        "default", or the folder of a run.
    patches : Path or str
        The store that `tile` wrote.
    out, overwrite, config, **settings
        As of `train`: `epochs=4`, `pel={"form": "deviation"}`, ...

    Returns
    -------
    Model

    Raises
    ------
    NucleipelError
        As the command.
    """
    from nucleipel.api.model import load
    from nucleipel.stages.pipeline.finetune_patches import finetune_patches as run

    chosen = settings_of(
        FinetunePatchesConfig, settings, function="finetune_patches", config=config, shorts={}
    )
    start, store = as_path(checkpoint, "checkpoint"), as_path(patches, "patches")
    return load(run(start, store, as_path(out, "out"), chosen, overwrite=overwrite))


def evaluate(
    true: Any, predicted: Any, *, ap_thresholds: "Sequence[float]" = AP_THRESHOLDS
) -> dict[str, float]:
    """Score an instance map by the annotation: Dice, AJI, PQ, AP, as `nucleipel evaluate` does.

    Parameters
    ----------
    true, predicted : (H, W) integers
        0 for background, any positive id for a nucleus; of one shape.
    ap_thresholds : sequence of float
        IoU from which a nucleus counts as found, one AP each.

    Returns
    -------
    dict
        `dice`, `aji`, `pq`, `dq`, `sq` and `ap@0.50` .. `ap@0.95`, defined in
        `nucleipel.metrics`; of several images see `nucleipel.metrics.pool`.

    Raises
    ------
    ArgumentError
        If a map is no map of ids, or the shapes differ.

    Examples
    --------
    >>> import numpy as np, nucleipel as npl
    >>> true = np.array([[1, 1, 0, 2]])
    >>> scores = npl.evaluate(true, np.array([[5, 5, 0, 0]]))
    >>> round(scores["dice"], 2), scores["dq"], scores["sq"]
    (0.8, 0.6666666666666666, 1.0)
    """
    annotation, prediction = require_labels(true, "true"), require_labels(predicted, "predicted")
    if annotation.shape != prediction.shape:
        raise ArgumentError(
            f"predicted: shape {prediction.shape}, true has {annotation.shape}; they must be the"
            " same"
        )
    if not all(0 < threshold <= 1 for threshold in ap_thresholds):
        raise ArgumentError(f"ap_thresholds: {list(ap_thresholds)}; expected IoU above 0, up to 1")
    return ImageScore.of(annotation, prediction, ap_thresholds=ap_thresholds).to_scores()


def _path(path: Path | str | None, name: str) -> Path | None:
    return None if path is None else as_path(path, name)
