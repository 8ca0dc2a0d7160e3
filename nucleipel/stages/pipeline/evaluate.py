"""Score instance maps against annotations, window by window: memory grows with the nuclei only."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nucleipel.config import EvaluateConfig
from nucleipel.core.geometry import Box
from nucleipel.core.progress import track
from nucleipel.errors import ImageError
from nucleipel.io.evaluation_report import write_report
from nucleipel.io.manifest import Manifest, Row, read_manifest
from nucleipel.io.nuclei.image_output import instance_map_file, missing_images
from nucleipel.io.slides.slide import open_annotation, open_slide
from nucleipel.metrics.matching import OverlapCounter
from nucleipel.metrics.scores import ImageScore, mean, pool

log = logging.getLogger(__name__)

WINDOW_PX = 2048
AROUND_PX = 256
"""Margin around a region in which nuclei that cross its border are seen, in level 0 pixels."""


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """The score of one image: of `counted_px` of its `px` at level 0."""

    score: ImageScore
    counted_px: int
    px: int


def evaluate(
    manifest: Path,
    instances: Path,
    out: Path,
    config: EvaluateConfig,
    *,
    split: str | None = None,
    by: str | None = None,
    data_root: Path | None = None,
    overwrite: bool = False,
    allow_missing: bool = False,
) -> dict[str, Any]:
    """Compare `instances/<id>/instances.ome.tif` with every label; write and return the report.

    `out` becomes a JSON file with `mean_over_images` and `pooled_over_nuclei`;
    a CSV of the same name has one row an image. With `by`, the name of a
    manifest column, `groups` has both for each of its values too. Of an image
    that was annotated in a region only, nuclei outside of it are not scored;
    `scored_percent` says which share of the pixels was. With `allow_missing`,
    images that the instances were closed without are not scored, and named as
    `missing`.
    """
    needed = () if allow_missing else (split,) if split else None
    rows = read_manifest(manifest, data_root=data_root, needed=needed)
    rows = (rows.of_split(split) if split else rows).annotated()
    annotations = rows.fingerprint()
    missing = missing_images(instances) if allow_missing else ()
    if missing:
        log.warning("not scored, since they are missing: %s", ", ".join(missing))
        rows = Manifest(rows.path, tuple(row for row in rows if row.id not in missing))
    groups = rows.grouped(by) if by else {}
    scored = [score_image(row, instances, config.ap_thresholds) for row in rows]
    report = {
        "comparison": {
            "instances": str(instances),
            "split": split,
            "by": by,
            "annotations": annotations,
            **({"missing": list(missing)} if missing else {}),
            "config": config.identity(),
        },
        **_summarize(scored),
    }
    if by:
        report["groups"] = {
            value: _summarize([scored[place] for place in places])
            for value, places in groups.items()
        }
    table = image_rows(rows, [image.score for image in scored])
    table = [{**line, **_percent([image])} for line, image in zip(table, scored, strict=True)]
    write_report(out, report, table, overwrite=overwrite)
    return report


def image_rows(rows: Manifest, scores: Sequence[ImageScore]) -> list[dict[str, Any]]:
    """Rows of the CSV, one an image."""
    return [
        {
            "id": row.id,
            "annotated_nuclei": score.annotated_count,
            "predicted_nuclei": score.predicted_count,
            **score.to_scores(),
        }
        for row, score in zip(rows, scores, strict=True)
    ]


def summarize(scores: Sequence[ImageScore]) -> dict[str, Any]:
    """Scores of several images together, as the report has them."""
    return {
        "images": len(scores),
        "annotated_nuclei": sum(score.annotated_count for score in scores),
        "predicted_nuclei": sum(score.predicted_count for score in scores),
        "mean_over_images": mean(scores),
        "pooled_over_nuclei": pool(scores),
    }


def _summarize(scored: Sequence[ScoredImage]) -> dict[str, Any]:
    return {**_percent(scored), **summarize([image.score for image in scored])}


def _percent(scored: Sequence[ScoredImage]) -> dict[str, float]:
    counted_px = sum(image.counted_px for image in scored)
    return {"scored_percent": round(100 * counted_px / sum(image.px for image in scored), 4)}


def score_image(row: Row, instances: Path, ap_thresholds: Sequence[float]) -> ScoredImage:
    """Score the instances of one image where it was annotated.

    Raises
    ------
    ManifestError, StoreError, ImageError
        If one of the two cannot be read, or they have other shapes.
    """
    with open_slide(row.image, mpp=row.mpp, series=row.series) as slide:
        frame = slide.resolution.at_level_0()
    known, counter, counted_px = row.load_annotation(frame.shape), OverlapCounter(), 0
    with (
        known.open(frame) as read_ids,
        open_annotation(instance_map_file(instances, row.id)) as prediction,
    ):
        if prediction.shape != frame.shape:
            raise ImageError(
                f"{instances / row.id}: the instance map is {prediction.shape[0]} x"
                f" {prediction.shape[1]} px, the image {frame.shape[0]} x {frame.shape[1]} px;"
                " they must be the same: stitch with map_frame level0"
            )
        for box in track(_windows(known.pieces(frame), frame.shape), f"scoring {row.id}"):
            counted = known.counted(box, frame)
            counted_px += math.prod(box.shape) if counted is None else int(counted.sum())
            counter.add(read_ids(box), prediction.read(box), counted)
    score = ImageScore.of_overlap(counter.overlap(), ap_thresholds=ap_thresholds)
    return ScoredImage(score, counted_px, math.prod(frame.shape))


def _windows(pieces: Sequence[Box], shape: tuple[int, int]) -> list[Box]:
    """Windows of one grid over an image of shape (height, width) that pieces lie on, or near."""
    corners = {
        (y, x)
        for box in (piece.grow(AROUND_PX).clip(shape) for piece in pieces)
        for y in range(box.y0 // WINDOW_PX, -(-box.y1 // WINDOW_PX))
        for x in range(box.x0 // WINDOW_PX, -(-box.x1 // WINDOW_PX))
    }
    windows = (
        Box(*(WINDOW_PX * edge for edge in (y, x, y + 1, x + 1))) for y, x in sorted(corners)
    )
    return [window.clip(shape) for window in windows]
