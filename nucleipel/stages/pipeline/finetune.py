"""Fine-tune a checkpoint on few images of one's own; keep the start where that is not better."""

import dataclasses
import logging
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from nucleipel.config import FinetuneConfig, TrainConfig
from nucleipel.config.pipeline.train import NetworkConfig
from nucleipel.core.log_filter import only_messages_of
from nucleipel.errors import CheckpointError
from nucleipel.figures.finetune_gain import draw_gain
from nucleipel.io.evaluation_report import write_report
from nucleipel.io.manifest import Manifest, read_manifest
from nucleipel.io.records.output import claim_output
from nucleipel.model.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from nucleipel.model.network import NetworkSpec
from nucleipel.stages.pipeline import fit_network
from nucleipel.stages.pipeline.average import average
from nucleipel.stages.pipeline.cross_scores import Comparison, CrossScores
from nucleipel.stages.pipeline.halves import Halves, split_in_halves
from nucleipel.stages.pipeline.reader_settings import build_slide_reader
from nucleipel.stages.pipeline.train import train
from nucleipel.training.coordinate_ascent import Numbers

log = logging.getLogger(__name__)

WORK, REPORT, PICTURE = ".work", "report.json", "gain.png"
EPOCHS = 4
NUCLEI_A_WINDOW, LEAST_WINDOWS, MOST_WINDOWS = 5, 512, 4096
"""More nuclei are worth a longer training (docs/own_data.md)."""
ONLY_HERE = {"windows", "shares", "share_of_one_source", "calibrate"}
"""Settings that are not those of `train`."""


def finetune(
    manifest: Path,
    out: Path,
    config: FinetuneConfig,
    *,
    checkpoint: Path = Path("default"),
    data_root: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Fine-tune a checkpoint on the annotated images of a manifest, and keep what is better.

    The images are split into halves by source, one image alone into quarters. A
    network is trained on each half, from the checkpoint, and scored on the other
    one; so are its means with the start. Share of the mean is chosen on one half for the
    other, and compared there with the start. If the mean of PQ and AJI is better beyond
    its 90 % interval, the result is the mean of the start and both networks; if not, it
    is the start. Of two sources or more, three numbers of the instance rule are chosen
    together with the share, if this makes the gain surer.

    The manifest needs the columns `image` and `label` only. Rows whose split is `test` are
    not used, other splits make no difference. There is no stage of PEL: on networks such
    as these it gains nothing (docs/pel.md).

    Writes a checkpoint, `report.json`, `report.csv` (a row an image) and `gain.png` into `out`,
    and returns it.
    """
    start, rows = read_checkpoint(checkpoint), _rows(manifest, config, data_root)
    _require_windows(start, checkpoint)
    halves = split_in_halves(rows, _reader(start, config), out / WORK)
    output = claim_output(
        out,
        stage="finetune",
        config=config.identity(),
        inputs={"checkpoint": start.fingerprint, "images": rows.fingerprint()},
        overwrite=overwrite,
    )
    if not output.complete:
        with only_messages_of(__name__, silent={fit_network.__name__}):
            comparison = _finetune(start, checkpoint, halves, config, out)
        output.commit(kept=comparison.kept)
        log.info("%s: %s", out, comparison.describe())
    else:
        log.info("%s: this fine-tuning is finished: kept is %s", out, output.record["kept"])
    shutil.rmtree(out / WORK, ignore_errors=True)
    return out


def _finetune(
    start: Checkpoint, checkpoint: Path, halves: Halves, config: FinetuneConfig, out: Path
) -> Comparison:
    """Train, compare, and write what is better."""
    work = out / WORK
    halves.write_regions()
    if halves.are_of_one_source:
        log.warning(
            "all annotated nuclei are of one source: the result may be worse on others, which"
            " nothing here can show; annotate some of two or more"
        )
    tuned = _train_halves(halves, start, checkpoint, config, work)
    means = _means(checkpoint, tuned, _shares(halves, config), work)
    log.info("scoring the start and its means with the trained weights, held apart")
    comparison = CrossScores(halves, means, config, work).compare()
    kept = start
    if comparison.is_better:
        mean = _mean(checkpoint, tuned, comparison.choice.share, work / "mean")
        kept = _with_numbers(read_checkpoint(mean), start, comparison.choice.numbers)
    _write(kept, comparison, halves, out)
    return comparison


def _rows(manifest: Path, config: FinetuneConfig, data_root: Path | None) -> Manifest:
    read = read_manifest(
        manifest, data_root=data_root, series=config.series, optional=("split", "source_id")
    )
    return Manifest(read.path, tuple(row for row in read if row.split != "test")).annotated()


def _require_windows(start: Checkpoint, checkpoint: Path) -> None:
    description = start.description
    if not isinstance(description.network, NetworkSpec) or description.grid.whole_image_px:
        raise CheckpointError(
            f"{checkpoint}: its network takes whole images, or is not one of nucleipel's;"
            " fine-tune a checkpoint of nucleipel train that works on windows"
        )


def _reader(start: Checkpoint, config: FinetuneConfig) -> Any:
    description = start.description
    return build_slide_reader(
        config,
        at_mpp=description.mpp,
        channels=description.network.in_channels,
        percentiles=description.percentiles,
    )


def _train_halves(
    halves: Halves, start: Checkpoint, checkpoint: Path, config: FinetuneConfig, work: Path
) -> list[Path]:
    windows = config.windows or _windows(halves.nuclei)
    settings = _train_config(start, config, windows)
    tuned = []
    for half in (0, 1):
        log.info("training on half %d of 2 (%s): %d windows", half + 1, halves.cut, windows)
        rows, folder = halves.to_train(half), work / f"half-{half}"
        tuned.append(train(rows, folder, settings, checkpoint=checkpoint))
    return tuned


def _windows(nuclei: int) -> int:
    """Windows that each training shows, by the annotated nuclei of both halves."""
    return min(max(nuclei // NUCLEI_A_WINDOW, LEAST_WINDOWS), MOST_WINDOWS)


def _train_config(start: Checkpoint, config: FinetuneConfig, windows: int) -> TrainConfig:
    """Settings of a short training from the start, on its grid; nothing is chosen in it."""
    description = start.description
    network = description.network
    of_start = {
        "percentiles": config.percentiles or description.percentiles,
        "mpp": description.mpp,
        "channels": network.in_channels,
        "core_px": description.grid.core_px,
        "boundary_px": description.boundary_px,
        "network": {name: getattr(network, name) for name in NetworkConfig.model_fields},
        "accept_seams": not network.is_bounded,
    }
    of_length = {
        "windows_per_epoch": -(-windows // EPOCHS),
        "epochs": EPOCHS,
        "validate_every": EPOCHS,
        "validation_windows": 1,
        "warmup_steps": 8,
        "ema_decay": 0.98,
        "keep": "last",
    }
    chosen = config.model_dump(exclude=ONLY_HERE)
    return TrainConfig.model_validate({**chosen, **of_start, **of_length})


def _shares(halves: Halves, config: FinetuneConfig) -> list[float]:
    """Shares of the trained weights that are tried; one source knows nothing of others."""
    if not halves.are_of_one_source:
        return list(config.shares)
    return sorted({min(share, config.share_of_one_source) for share in config.shares})


def _means(
    checkpoint: Path, tuned: Sequence[Path], shares: Sequence[float], work: Path
) -> dict[float, list[Path]]:
    """For each share: the mean of the start with the network of either half."""
    means = {0.0: [checkpoint, checkpoint]}
    for share in shares:
        means[share] = [
            _mean(checkpoint, [network], share, work / f"half-{half}-share-{share:g}")
            for half, network in enumerate(tuned)
        ]
    return means


def _mean(checkpoint: Path, tuned: Sequence[Path], share: float, out: Path) -> Path:
    """The mean of the start and some networks that together have this share."""
    parts = Fraction(share).limit_denominator(8)
    names = [checkpoint] * ((parts.denominator - parts.numerator) * len(tuned))
    names += [network for network in tuned for _ in range(parts.numerator)]
    return average(names, out) if len(names) > 1 else names[0]


def _with_numbers(model: Checkpoint, start: Checkpoint, numbers: Numbers | None) -> Checkpoint:
    """The model with numbers of the instance rule; with those of the start if there are none."""
    known = start.description
    instances = known.instances if numbers is None else numbers
    of_stained = known.stained_instances if numbers is None else {}
    description = dataclasses.replace(
        model.description, instances=instances, stained_instances=of_stained
    )
    return dataclasses.replace(model, description=description)


def _write(kept: Checkpoint, comparison: Comparison, halves: Halves, out: Path) -> None:
    sha256 = write_checkpoint(out, kept.description, kept.network.state_dict())
    report = {
        "kept": comparison.kept,
        "checkpoint_sha256": sha256,
        "held_apart": halves.cut,
        "instances": kept.description.instances,
        "stained_instances": kept.description.stained_instances,
        **comparison.to_json(),
    }
    write_report(out / REPORT, report, comparison.table(halves), overwrite=True)
    draw_gain(
        [row.id for row in halves.rows],
        [score.to_scores() for score in comparison.start],
        [score.to_scores() for score in comparison.tuned],
        title=comparison.describe(),
    ).savefig(out / PICTURE, dpi=120)
