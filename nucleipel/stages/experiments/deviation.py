"""Draw where networks deviate from the annotation, and the pull of each form of PEL there."""

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nucleipel.config import DeviationConfig
from nucleipel.core.atomic import write_json
from nucleipel.core.geometry import Box, overlapping_tiles
from nucleipel.core.progress import track
from nucleipel.errors import CheckpointError
from nucleipel.figures.deviation_panels import Moment, draw_deviation, draw_histograms
from nucleipel.inference.probability_map import choose_device, predict_probabilities
from nucleipel.instances.overlay import draw_overlay
from nucleipel.instances.training_targets import CLASSES, class_targets, one_hot
from nucleipel.io.csv_table import write_table
from nucleipel.io.manifest import Manifest, Row
from nucleipel.io.pictures import write_figure
from nucleipel.io.records.output import claim_output
from nucleipel.io.slides.slide_reader import SlideReader
from nucleipel.losses import PELoss, annotated_logit_step
from nucleipel.losses.pel import FORMS
from nucleipel.model.checkpoint import Checkpoint, read_checkpoint

log = logging.getLogger(__name__)

PANELS, TABLE, HISTOGRAM = "panels", "deviations.csv", "histogram.png"


def deviation(
    checkpoint: Path,
    rows: Manifest,
    out: Path,
    config: DeviationConfig,
    *,
    after: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a panel `panels/<id>.png` for each image, the numbers of all, and their histogram.

    A panel shows one patch, as a loss would see it: the whole image, or of a
    larger one the patch with the largest deviation. The deviation of a pixel
    is half the sum over classes of |p - g|, which is 1 - p of its annotated
    class; `after` adds the same for a second checkpoint.
    """
    models = {"before" if after else "now": read_checkpoint(checkpoint)}
    if after:
        models["after"] = read_checkpoint(after)
        _require_alike(models["before"], models["after"], after)
    inputs = {name: model.fingerprint for name, model in models.items()}
    inputs["images"] = rows.annotated().fingerprint()
    output = claim_output(
        out, stage="deviation", config=config.identity(), inputs=inputs, overwrite=overwrite
    )
    if output.complete:
        log.info("%s: these panels are finished", out)
        return out
    device = choose_device(config.device)
    for model in models.values():
        model.network.to(device)
    (out / PANELS).mkdir(exist_ok=True)
    for row in track(rows, "drawing deviations"):
        if not _numbers_file(out, row).is_file():
            _draw_image(models, row, out, config, device=device)
    _write_numbers(out, rows)
    output.commit(images=[row.id for row in rows])
    return out


def _require_alike(before: Checkpoint, after: Checkpoint, path: Path) -> None:
    for name in ("mpp", "boundary_px", "maps"):
        value, wanted = getattr(after.description, name), getattr(before.description, name)
        if value != wanted:
            raise CheckpointError(
                f"{path}: {name} {value}, --checkpoint has {wanted};"
                " give a network and the same one fine-tuned"
            )


def _numbers_file(out: Path, row: Row) -> Path:
    return out / PANELS / f"{row.id}.json"


def _draw_image(
    models: dict[str, Checkpoint],
    row: Row,
    out: Path,
    config: DeviationConfig,
    *,
    device: torch.device,
) -> None:
    description = next(iter(models.values())).description
    reader = SlideReader(
        channels=description.network.in_channels,
        at_mpp=description.mpp,
        whole_image_px=description.grid.whole_image_px,
    )
    with row.open(reader) as slide:
        intensity = slide.intensity_range()
        maps = {
            name: predict_probabilities(
                model.network,
                slide,
                intensity=intensity,
                grid=model.description.grid.fitted(
                    slide.shape, stride=model.description.network.stride
                ),
                channels=model.description.network.in_channels,
                maps=len(model.description.maps),
                device=device,
            )[: len(CLASSES)]
            for name, model in models.items()
        }
        known = row.load_annotation(slide.resolution.source_shape)
        with known.open(slide.resolution) as read_ids:
            ids = read_ids(Box.of_shape(slide.shape))
        counted = known.counted(Box.of_shape(slide.shape), slide.resolution)
        targets = class_targets(ids, boundary_px=description.boundary_px, counted=counted)
        onehot = one_hot(targets)
        if counted is not None:
            onehot *= counted
        box = _patch(next(iter(maps.values())), onehot, side_px=config.patch_px)
        pixels = intensity.normalize(slide.read(box))
    here = (slice(None), *box.slices)
    moments = [
        _moment(name, probabilities[here], onehot[here], n=config.n)
        for name, probabilities in maps.items()
    ]
    picture = np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels[..., :3]
    figure = draw_deviation(
        draw_overlay(np.rint(255 * picture).astype(np.uint8), ids[box.slices].astype(np.uint32)),
        targets[box.slices],
        moments,
        title=f"{row.id}, {box.shape[0]} x {box.shape[1]} px from ({box.y0}, {box.x0});"
        f" pull in the logit of the annotated class at n = {config.n:g}: red to it, blue away",
    )
    write_figure(out / PANELS / f"{row.id}.png", figure)
    numbers = [
        {"moment": moment.name, **moment.numbers(), "histogram": moment.histogram()}
        for moment in moments
    ]
    write_json(_numbers_file(out, row), {"patch": [box.y0, box.x0, *box.shape], "numbers": numbers})


def _patch(
    probabilities: npt.NDArray[np.float32], onehot: npt.NDArray[np.float32], *, side_px: int
) -> Box:
    """The whole image, or the tile of it with the largest sum of deviations."""
    shape = (probabilities.shape[1], probabilities.shape[2])
    tiles = overlapping_tiles(shape, side_px=side_px, overlap_px=side_px // 2)
    deviations = np.abs(probabilities - onehot).sum(axis=0) * onehot.any(axis=0)
    return max(
        (tile.clip(shape) for tile in tiles),
        key=lambda tile: float(deviations[tile.slices].sum()),
    )


def _moment(
    name: str,
    probabilities: npt.NDArray[np.float32],
    onehot: npt.NDArray[np.float32],
    *,
    n: float,
) -> Moment:
    p, g = torch.from_numpy(probabilities.copy()), torch.from_numpy(onehot.copy())
    pull = partial(annotated_logit_step, probabilities=p, onehot=g)
    losses: dict[str, Any] = {form: PELoss(form, 1.0, n) for form in FORMS}  # type: ignore[arg-type]
    losses["cross-entropy"] = torch.nn.functional.cross_entropy
    return Moment(
        name,
        classes=probabilities.argmax(axis=0),
        deviation=((p - g).abs().sum(dim=0) / 2 * (g.sum(dim=0) > 0)).numpy(),
        pulls={loss_name: pull(loss).numpy() for loss_name, loss in losses.items()},
    )


def _write_numbers(out: Path, rows: Manifest) -> None:
    """Write `deviations.csv`, a row for each image and network, and the histogram of all."""
    table: list[dict[str, Any]] = []
    counts: dict[str, npt.NDArray[np.int64]] = {}
    for row in rows:
        drawn = json.loads(_numbers_file(out, row).read_text(encoding="utf-8"))
        place = dict(zip(("y0_px", "x0_px", "height_px", "width_px"), drawn["patch"], strict=True))
        for numbers in drawn["numbers"]:
            histogram = np.array(numbers.pop("histogram"))
            moment = numbers["moment"]
            counts[moment] = counts.get(moment, 0) + histogram
            table.append({"id": row.id, **place, **numbers})
    write_table(out / TABLE, table)
    shown = {name: values.tolist() for name, values in counts.items()}
    write_figure(out / HISTOGRAM, draw_histograms(shown, title=f"{len(rows)} patches"))
