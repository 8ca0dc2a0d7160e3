"""The report of an ablation: results.csv, images.csv, differences.csv, plots, and report.md.

Every figure of the report stands in one of the tables.

**Dice** is that of the foregrounds of whole images: the instances of the
prediction against those of the annotation, whichever nucleus a pixel belongs
to. So it depends on the rule that makes instances, first of all on
`foreground_percent`, and a loss that only raises or lowers probabilities changes
it. Therefore each run's Dice is taken under numbers that
were chosen for this run, on val, by Dice; AJI, PQ and AP under those chosen by
PQ. The base is treated like all others.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.config import AblateConfig, ArmConfig
from nucleipel.core.atomic import write_text
from nucleipel.figures.ablation import draw_differences, draw_grid, draw_saturation
from nucleipel.io.csv_table import write_table
from nucleipel.io.evaluation_report import read_report
from nucleipel.io.manifest import Manifest
from nucleipel.io.pictures import write_figure
from nucleipel.metrics.bootstrap import Interval, paired_bootstrap
from nucleipel.stages.experiments.ablation_runs import CHOSEN_BY, FINETUNE, Run
from nucleipel.training.training_log import read_training_log

log = logging.getLogger(__name__)

BASE, CONTROL = "none", "control"
MEASURES = {
    "dice": "Dice", "aji": "AJI", "pq": "PQ", "ap@0.50": "AP@.5", "ap@0.75": "AP@.75",
}  # fmt: skip
POINTS = 100


@dataclass(frozen=True)
class SplitScores:
    """All scores on one split: per arm, (seeds, images) of each measure."""

    split: str
    runs: list[Run]
    ids: list[str]
    sources: list[str]
    values: dict[str, dict[str, npt.NDArray[np.float64]]]

    def means(self, measure: str) -> dict[str, float]:
        """Per arm, the mean over images and seeds; arms that failed are left out."""
        return {arm: float(of[measure].mean()) for arm, of in self.values.items()}

    def difference(self, arm: str, reference: str, measure: str) -> Interval:
        """Mean and 95 % interval of arm - reference, in points; images and seeds are paired.

        One source alone says nothing about others: its interval is NaN.
        """
        ours, theirs = self.values[arm][measure], self.values[reference][measure]
        interval = paired_bootstrap(POINTS * (ours - theirs), self.sources)
        known = len(set(self.sources)) > 1
        return interval if known else Interval(interval.mean, float("nan"), float("nan"))


def read_scores(runs: list[Run], rows: Manifest) -> SplitScores:
    """The scores of finished runs; an arm of which one seed failed has none."""
    of_split = rows.of_split(runs[0].split).rows
    values: dict[str, dict[str, npt.NDArray[np.float64]]] = {}
    for arm in dict.fromkeys(run.arm for run in runs):
        seeds = [run for run in runs if run.arm == arm]
        if any(run.failure is not None for run in seeds):
            continue
        tables = [{row["id"]: row for row in read_report(run.report)[1]} for run in seeds]
        values[arm] = {
            measure: np.array(
                [[float(table[row.id][measure]) for row in of_split] for table in tables]
            )
            for measure in MEASURES
        }
    return SplitScores(
        runs[0].split,
        runs,
        [row.id for row in of_split],
        [row.source_id for row in of_split],
        values,
    )


def write_results(out: Path, runs: Sequence[Run]) -> None:
    """Write `results.csv`: a row for each run that has ended, in the order of the runs."""
    rows = [_result(run) for run in runs if run.finished]
    if rows:
        write_table(out / "results.csv", rows)


def write_ablation_report(
    out: Path, scores: list[SplitScores], config: AblateConfig, *, base: str
) -> Path:
    """Write the tables, the plots and `report.md`, whose path is returned."""
    write_table(out / "images.csv", [row for of in scores for row in _image_rows(of)])
    differences = [row for of in scores for row in difference_rows(of)]
    if differences:
        write_table(out / "differences.csv", differences)
    parts = [*_opening(config, base=base), *_saturation(out, scores[0].runs, config)]
    for of in scores:
        parts += _section(out, of, config)
    path = out / "report.md"
    write_text(path, "\n".join(parts) + "\n")
    log.info("%s: %d runs", path, sum(len(of.runs) for of in scores))
    return path


def _result(run: Run) -> dict[str, Any]:
    row: dict[str, Any] = {"arm": run.arm, "seed": run.seed, "split": run.split}
    loss = run.finetune
    pel = loss.pel if loss and loss.region_loss == "pel" else None
    row |= {
        "cross_entropy_weight": loss.cross_entropy_weight if loss else "",
        "region_loss": loss.region_loss if loss else "",
        "region_weight": loss.region_weight if loss else "",
        "form": pel.form if pel else "",
        "n": pel.n if pel else "",
        "alpha": pel.alpha if pel else "",
        "boundary_weight": pel.boundary_weight if pel else "",
        "block_px": pel.block_px if pel else "",
        "sampling": loss.sampling if loss else "",
        "failed": run.failure or "",
    }
    report: dict[str, Any] = {"mean_over_images": {}, "pooled_over_nuclei": {}, "images": ""}
    if run.report.is_file():
        report = read_report(run.report)[0]
    row["images"] = report["images"]
    row |= {measure: report["mean_over_images"].get(measure, "") for measure in MEASURES}
    pooled = report["pooled_over_nuclei"]
    row |= {f"pooled {measure}": pooled.get(measure, "") for measure in MEASURES}
    return row | _chosen_numbers(run)


def _chosen_numbers(run: Run) -> dict[str, Any]:
    """The run's own numbers, and the pooled scores on val by which they were chosen."""
    cells: dict[str, Any] = {}
    for measure in CHOSEN_BY:
        chosen = run.numbers.get(measure)
        cells[f"val pooled {measure}"] = chosen["val"] if chosen else ""
        for name, tried in run.calibrate.candidates().items():
            if tried:
                cells[f"{name} for {measure}"] = chosen["instances"].get(name, "") if chosen else ""
    return cells


def _image_rows(scores: SplitScores) -> list[dict[str, Any]]:
    return [
        {"split": scores.split, "arm": arm, "seed": run.seed, "id": image, "source_id": source}
        | {measure: values[seed, place] for measure, values in of.items()}
        for arm, of in scores.values.items()
        for seed, run in enumerate([run for run in scores.runs if run.arm == arm])
        for place, (image, source) in enumerate(zip(scores.ids, scores.sources, strict=True))
    ]


def difference_rows(scores: SplitScores) -> list[dict[str, Any]]:
    """A row for each arm, reference (the base, the control) and measure, in points."""
    rows = []
    for arm in scores.values:
        for reference in (BASE, CONTROL):
            if arm in (BASE, reference) or reference not in scores.values:
                continue
            for measure in MEASURES:
                difference = scores.difference(arm, reference, measure)
                rows.append(
                    {
                        "split": scores.split,
                        "arm": arm,
                        "reference": reference,
                        "measure": measure,
                        "seeds": len(scores.values[arm][measure]),
                        "images": len(scores.ids),
                        "sources": len(set(scores.sources)),
                        "points": difference.mean,
                        "low": difference.low,
                        "high": difference.high,
                    }
                )
    return rows


def write_difference_plot(path: Path, scores: SplitScores) -> bool:
    """Draw the arms against the control, if there are any."""
    against = {
        arm: {MEASURES[measure]: scores.difference(arm, CONTROL, measure) for measure in MEASURES}
        for arm in scores.values
        if CONTROL in scores.values and arm != CONTROL
    }
    if against:
        figure = draw_differences(against, reference=CONTROL, split=scores.split)
        write_figure(path, figure)
    return bool(against)


def _opening(config: AblateConfig, *, base: str) -> list[str]:
    training = config.finetune
    each = training.patches_per_epoch or "all"
    return [
        "# Ablation",
        "",
        f"Base `{base[:12]}`. Every arm: {training.epochs} epochs of {each} patches of"
        f" {config.patch_px} px, batches of {training.batch_size}, learning rate"
        f" {training.learning_rate:g} with {training.warmup_steps} steps of warm-up and a cosine;"
        " the same patches in the same order, but for arms that draw them by deviation; the last"
        " weights (running mean) are scored.",
        "",
        f"{_scoring_sentence(config)} Dice is that of the foregrounds of whole images.",
        "",
        "Scores are means over images. Differences are in points (hundredths), with 95 % intervals"
        " by a paired bootstrap over sources and seeds. `none` is the base as it came; `control`"
        " goes on with its own loss.",
    ]


def _scoring_sentence(config: AblateConfig) -> str:
    if not config.calibrate:
        return "All runs are scored with the numbers that the base came with."
    names = ", ".join(f"`{name}`" for name in config.calibrate)
    return (
        f"Each run, the base too, is scored with numbers of its own ({names}), chosen on val:"
        " those of best pooled Dice for Dice, those of best pooled PQ for all else."
    )


def _saturation(out: Path, runs: list[Run], config: AblateConfig) -> list[str]:
    controls = [run for run in runs if run.arm == CONTROL and run.failure is None]
    logs = [read_training_log(run.folder / FINETUNE) for run in controls]
    if not logs:
        return ["", "## Is the base saturated?", "", "The control failed or was not run."]
    curves = [
        [(row["epoch"], row["val_dice"], row["val_pq"]) for row in journal if "val_dice" in row]
        for journal in logs
    ]
    write_figure(out / "saturation.png", draw_saturation(curves))
    start = next(run.numbers["dice"]["val"] for run in runs if run.arm == BASE)
    gain = POINTS * float(np.mean([run.numbers["dice"]["val"] - start for run in controls]))
    limit = config.saturated_points
    verdict = (
        "So it is saturated."
        if gain < limit
        else "So it is **not saturated**: train it on first; all arms gain what it still lacked."
    )
    return [
        "",
        "## Is the base saturated?",
        "",
        f"Going on with its own loss for as many steps as an arm has changed the pooled Dice of the"
        f" val images by {gain:+.2f} points (limit {limit:g}). {verdict} The curve shows the val"
        " patches, under the numbers that the base came with.",
        "",
        "![Dice and PQ while the control goes on](saturation.png)",
    ]


def _section(out: Path, scores: SplitScores, config: AblateConfig) -> list[str]:
    seeds = max((len(of["pq"]) for of in scores.values.values()), default=0)
    title = "The grid, on val" if scores.split == "val" else "The finalists, on test"
    lines = [
        "",
        f"## {title}",
        "",
        f"{len(scores.ids)} images of {len(set(scores.sources))} sources, {seeds} seeds."
        if seeds > 1
        else f"{len(scores.ids)} images of {len(set(scores.sources))} sources, one seed: the"
        " intervals do not know how much seeds differ.",
        "",
        *_score_table(scores),
        "",
        f"What patches give is `{CONTROL}` - `{BASE}`: more training on patches with the loss that"
        f" the base was trained with. What the loss gives is the arm - `{CONTROL}`. Points:",
        "",
        *_difference_table(scores),
    ]
    failed = [run for run in scores.runs if run.failure]
    lines += ["", *(f"- `{run.arm}`, seed {run.seed}, failed: {run.failure}" for run in failed)]
    if scores.split == "val":
        for measure in ("pq", "dice"):
            name = f"grid_{measure}.png"
            if _write_grid(out / name, scores, config, measure):
                lines.append(f"![{MEASURES[measure]} of the grid against the control]({name})\n")
    name = f"differences_{scores.split}.png"
    if write_difference_plot(out / name, scores):
        lines.append(f"![arms against the control]({name})")
    return lines


def _score_table(scores: SplitScores) -> list[str]:
    lines = _head("arm", *MEASURES.values())
    for arm, of in scores.values.items():
        lines.append(_line(f"`{arm}`", *(f"{of[measure].mean():.4f}" for measure in MEASURES)))
    return lines


def _difference_table(scores: SplitScores) -> list[str]:
    """Columns of what the patches gain, what the loss gains, and both together."""
    parts = (("patches", BASE, CONTROL), ("loss", CONTROL, None), ("both", BASE, None))
    shown = {measure: MEASURES[measure] for measure in ("dice", "pq")}
    lines = _head("arm", *(f"{name}: {part[0]}" for name in shown.values() for part in parts))
    for arm in scores.values:
        if arm == BASE:
            continue
        cells = []
        for measure in shown:
            for _, reference, other in parts:
                which = other or arm
                known = {which, reference} <= scores.values.keys() and which != reference
                interval = scores.difference(which, reference, measure) if known else None
                cells.append(_in_points(interval) if interval else "")
        lines.append(_line(f"`{arm}`", *cells))
    return lines


def _head(*names: str) -> list[str]:
    return [_line(*names), "|" + "---|" * len(names)]


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _in_points(interval: Interval) -> str:
    if np.isnan(interval.low):
        return f"{interval.mean:+.2f}"
    return f"{interval.mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"


def _write_grid(path: Path, scores: SplitScores, config: AblateConfig, measure: str) -> bool:
    """Draw the grid's differences to the control, if there are any."""
    grid, means = config.grid, scores.means(measure)
    if CONTROL not in means or not (grid.forms and grid.n and grid.alpha):
        return False
    points: dict[str, npt.NDArray[np.float64]] = {
        form: np.full((len(grid.n), len(grid.alpha)), np.nan) for form in grid.forms
    }
    for name, arm in config.all_arms().items():
        if name in means and name not in config.arms:
            points[arm.pel.form][_cell(config, arm)] = POINTS * (means[name] - means[CONTROL])
    title = f"{MEASURES[measure]} - control, points (val)"
    write_figure(path, draw_grid(points, exponents=grid.n, alphas=grid.alpha, title=title))
    return True


def _cell(config: AblateConfig, arm: ArmConfig) -> tuple[int, int]:
    return config.grid.n.index(arm.pel.n), config.grid.alpha.index(arm.pel.alpha)
