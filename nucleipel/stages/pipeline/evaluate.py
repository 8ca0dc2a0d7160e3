"""Score instance maps against annotations."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nucleipel.config import EvaluateConfig
from nucleipel.core.geometry import Box
from nucleipel.core.progress import track
from nucleipel.errors import ImageError
from nucleipel.io.evaluation_report import write_report
from nucleipel.io.manifest import Manifest, Row, read_manifest
from nucleipel.io.nuclei.image_output import missing_images, read_instance_map
from nucleipel.io.slides.slide import open_slide
from nucleipel.metrics.scores import ImageScore, mean, pool

log = logging.getLogger(__name__)


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
    manifest column, `groups` has both for each of its values too. With
    `allow_missing`, images that the instances were closed without are not
    scored, and named as `missing`.
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
    scores = [_score(row, instances, config.ap_thresholds) for row in track(rows, "scoring")]
    report = {
        "comparison": {
            "instances": str(instances),
            "split": split,
            "by": by,
            "annotations": annotations,
            **({"missing": list(missing)} if missing else {}),
            "config": config.identity(),
        },
        **summarize(scores),
    }
    if by:
        report["groups"] = {
            value: summarize([scores[place] for place in places])
            for value, places in groups.items()
        }
    write_report(out, report, image_rows(rows, scores), overwrite=overwrite)
    return report


def image_rows(rows: Manifest, scores: Sequence[ImageScore]) -> list[dict[str, Any]]:
    """What the CSV says of each image."""
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
    """What the report says of several images together."""
    return {
        "images": len(scores),
        "annotated_nuclei": sum(score.annotated_count for score in scores),
        "predicted_nuclei": sum(score.predicted_count for score in scores),
        "mean_over_images": mean(scores),
        "pooled_over_nuclei": pool(scores),
    }


def _score(row: Row, instances: Path, ap_thresholds: Sequence[float]) -> ImageScore:
    with open_slide(row.image, mpp=row.mpp) as slide:
        frame = slide.resolution
    prediction = read_instance_map(instances, row.id)
    with row.load_annotation(frame.shape).open(frame) as read_ids:
        annotation = read_ids(Box.of_shape(frame.shape))
    if annotation.shape != prediction.shape:
        raise ImageError(
            f"{instances / row.id}: the instance map is {prediction.shape[0]} x"
            f" {prediction.shape[1]} px, the annotation {annotation.shape[0]} x"
            f" {annotation.shape[1]} px; they must be the same: stitch with map_frame level0"
        )
    return ImageScore.of(annotation, prediction, ap_thresholds=ap_thresholds)
