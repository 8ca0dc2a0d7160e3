r"""Leave experiments out of training, and score on them: which setting travels to unseen images.

    python scripts/reproduce/leave_one_out.py --manifest data_manifests/dsb2018.csv \
        --data-root DATA_ROOT --out DIR --config configs/recipes/train_dsb2018.yaml \
        --arm plain --arm uneven augment.uneven=0.5

Images of one size and one value of the column `modality`, if there is one, make up a group: in
DSB2018 each experiment has its own. A fold trains on the `train` rows of all other groups, is
calibrated on their `val` rows, and scored on the group's `train` and `val` rows; `test` is not
read. Without --fold each group of --least images or more is one fold; `--fold A,B` leaves several
out at once and scores each. An arm is a name and settings of `nucleipel train`; all arms see the
same windows. Without --arm there is one, `plain`. With --choose-scale each arm is scored once
more, at the scale that is chosen for each image. After a kill the same command continues.

Writes `scores.csv` (a line a fold, group and arm, pooled over nuclei), `differences.csv` (each arm
less the first one, with 95 % intervals by draws of the sources) and `differences.png`.
"""

import argparse
import csv
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nucleipel.config import CalibrateConfig, TrainConfig, load_config
from nucleipel.errors import NucleipelError
from nucleipel.figures.ablation import draw_differences
from nucleipel.io.csv_table import write_table
from nucleipel.io.manifest import Manifest, Row, read_manifest
from nucleipel.io.slides.slide import open_slide
from nucleipel.metrics.bootstrap import Interval
from nucleipel.metrics.gains import pooled_gains
from nucleipel.metrics.scores import ImageScore, pool
from nucleipel.stages.pipeline.calibrate import calibrate
from nucleipel.stages.pipeline.train import train

sys.path.insert(0, str(Path(__file__).parent))  # also where another script runs this one

from checkpoint_scores import score_checkpoint

MEASURES = ("dice", "aji", "pq", "ap@0.50", "ap@0.75")
SHOWN = ("pq", "ap@0.50", "ap@0.75")
Scores = dict[str, list[ImageScore]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, calibrate and score what is missing; write the tables and the picture."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        manifest = read_manifest(options.manifest, data_root=options.data_root)
        groups = _groups(manifest)
        for fold in _folds(options, groups):
            left_out = {group: groups[group] for group in fold}
            folder = options.out / "+".join(fold)
            data = _write_manifest(folder / "manifest.csv", manifest, left_out)
            scores: dict[str, Scores] = {}
            for name, *assignments in options.arm:
                run = _run_arm(folder / name, data, options, assignments)
                scores[name] = _score(run, folder / name / "instances", data, left_out)
                if options.choose_scale:
                    chosen = folder / name / "scale_chosen"
                    scores[f"{name}, scale chosen"] = _score(run, chosen, data, left_out, "auto")
            _write_fold(folder, left_out, scores)
        _write_all(options.out)
    except NucleipelError as error:
        sys.exit(f"error: {error}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path, help="settings of nucleipel train for all arms")
    parser.add_argument("--checkpoint", type=Path, help="start from it; it must not know a group")
    parser.add_argument("--fold", action="append", type=lambda text: text.split(","))
    parser.add_argument("--least", type=int, default=8, help="images of a group that makes a fold")
    parser.add_argument(
        "--arm", action="append", nargs="+", metavar="NAME KEY=VALUE", help="settings of an arm"
    )
    parser.add_argument("--choose-scale", action="store_true", help="score this, too")
    options = parser.parse_args(arguments)
    options.arm = options.arm or [["plain"]]
    return options


def _groups(manifest: Manifest) -> dict[str, list[Row]]:
    """The `train` and `val` rows by kind and size of the image."""
    groups: dict[str, list[Row]] = {}
    for row in manifest:
        if row.split in ("train", "val"):
            with open_slide(row.image, mpp=row.mpp, series=row.series) as slide:
                height, width = slide.resolution.source_shape
            kind = row.columns.get("modality", "")
            groups.setdefault(f"{kind}-{height}x{width}".strip("-"), []).append(row)
    return dict(sorted(groups.items()))


def _folds(options: argparse.Namespace, groups: dict[str, list[Row]]) -> list[list[str]]:
    folds = options.fold or [[name] for name in groups if len(groups[name]) >= options.least]
    for name in (name for fold in folds for name in fold if name not in groups):
        found = ", ".join(f"{group} ({len(rows)})" for group, rows in groups.items())
        sys.exit(f"error: --fold {name}: no such group; found {found}")
    return folds


def _write_manifest(path: Path, manifest: Manifest, left_out: dict[str, list[Row]]) -> Path:
    """Write the rows of a fold: those of the groups left out are `test`."""
    unseen = {row.id for rows in left_out.values() for row in rows}
    lines = [
        {
            "id": row.id,
            "image": row.image.resolve(),
            "label": row.require_label().resolve(),
            "split": "test" if row.id in unseen else row.split,
            "source_id": row.source_id,
            "mpp": row.mpp or "",
            "modality": row.columns.get("modality", ""),
        }
        for row in manifest
        if row.split in ("train", "val")
    ]
    # a source whose images differ in size lies in two groups: what is scored was not trained on
    sources = {line["source_id"] for line in lines if line["split"] == "test"}
    kept = [line for line in lines if line["split"] == "test" or line["source_id"] not in sources]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, kept)
    return path


def _run_arm(folder: Path, data: Path, options: argparse.Namespace, assignments: list[str]) -> Path:
    """Train and calibrate one arm; returns its checkpoint."""
    config = load_config(TrainConfig, file=options.config, assignments=assignments)
    run = train(data, folder / "train", config, checkpoint=options.checkpoint)
    val = read_manifest(data, needed=("val",)).of_split("val")
    return calibrate(run, val, folder / "calibrated", CalibrateConfig())


def _score(
    run: Path, out: Path, data: Path, left_out: dict[str, list[Row]], scale: str | None = None
) -> Scores:
    """The scores of each group's images."""
    test = read_manifest(data, needed=("test",)).of_split("test")
    of_images = score_checkpoint(run, test, out, scale=scale)
    scores = dict(zip((row.id for row in test), of_images, strict=True))
    return {group: [scores[row.id] for row in rows] for group, rows in left_out.items()}


def _write_fold(folder: Path, left_out: dict[str, list[Row]], scores: dict[str, Scores]) -> None:
    lines, differences = [], []
    first, *others = scores
    for group, rows in left_out.items():
        for arm, of_arm in scores.items():
            pooled = pool(of_arm[group])
            known = {
                "fold": folder.name,
                "group": group,
                "arm": arm,
                "images": len(rows),
                "nuclei": sum(score.annotated_count for score in of_arm[group]),
            }
            lines.append({**known, **{name: f"{pooled[name]:.4f}" for name in MEASURES}})
        for arm in others:
            intervals = pooled_gains(
                scores[first][group],
                scores[arm][group],
                [row.source_id for row in rows],
                _measures,
            )
            known = {"fold": folder.name, "group": group, "arm": f"{arm} - {first}"}
            differences += [
                {**known, "measure": name, **_points(interval)}
                for name, interval in intervals.items()
            ]
    write_table(folder / "scores.csv", lines)
    write_table(folder / "differences.csv", differences, columns=DIFFERENCE_COLUMNS)


DIFFERENCE_COLUMNS = ("fold", "group", "arm", "measure", "points", "from", "to")


def _measures(pooled: Mapping[str, float]) -> dict[str, float]:
    return {name: pooled[name] for name in MEASURES}


def _points(interval: Interval) -> dict[str, str]:
    ends = {"points": interval.mean, "from": interval.low, "to": interval.high}
    return {name: f"{100 * value:.2f}" for name, value in ends.items()}


def _write_all(out: Path) -> None:
    """Put the tables of all folds that are finished into one each, and draw the differences."""
    tables = {name: _joined(out, name) for name in ("scores.csv", "differences.csv")}
    write_table(out / "scores.csv", tables["scores.csv"])
    if not tables["differences.csv"]:
        return
    write_table(out / "differences.csv", tables["differences.csv"])
    drawn: dict[str, dict[str, Interval]] = {}
    for line in tables["differences.csv"]:
        if line["measure"] in SHOWN:
            ends = (float(line[name]) / 100 for name in ("points", "from", "to"))
            drawn.setdefault(f"{line['group']}, {line['arm']}", {})[line["measure"]] = Interval(
                *ends
            )
    draw_differences(drawn, reference="the first arm", split="groups left out").savefig(
        out / "differences.png", dpi=150
    )


def _joined(out: Path, name: str) -> list[dict[str, Any]]:
    lines = []
    for path in sorted(out.glob(f"*/{name}")):
        with path.open(newline="", encoding="utf-8") as stream:
            lines += list(csv.DictReader(stream))
    return lines


if __name__ == "__main__":
    main()
