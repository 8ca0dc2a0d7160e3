"""The `plan` command, and the table that it prints."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nucleipel.cli import options
from nucleipel.core.stopwatch import Stopwatch

if TYPE_CHECKING:
    from nucleipel.stages.plan.patch_estimate import StageEstimate
    from nucleipel.stages.plan.plan import Plan


@click.command()
@options.rows
@options.checkpoint_or_default
@click.option("--out", type=options.PATH, help="Where outputs would go: is its disk large enough?")
@options.settings
@options.prediction
@options.outputs
@options.resources
@click.option("--by-image", is_flag=True, help="Also print it for each image.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
def plan(checkpoint: Path, out: Path | None, by_image: bool, as_json: bool, **values: Any) -> None:
    """Estimate patches, disk, memory and time of a run.

    Samples a few windows of a few images with the stages themselves, for tile
    (the annotated rows of its splits), predict and stitch, or segment.
    Writes nothing. Exits with 1 if the disk of --out, or the memory, is too small.
    """
    from nucleipel.config import PlanConfig

    clock = Stopwatch()
    config = options.load(PlanConfig, values)
    rows = options.read_rows(values, series=config.series)
    from nucleipel.stages.plan.plan import plan as run

    estimate = run(checkpoint, rows, config, out=out, clock=clock)
    if as_json:
        click.echo(json.dumps(estimate.to_json(), indent=1))
    else:
        for line in table(estimate, by_image=by_image):
            click.echo(line)
    estimate.require_fit()


def table(plan: "Plan", *, by_image: bool) -> list[str]:
    """Format a plan for people, line by line."""
    from nucleipel.stages.plan.plan import in_bytes

    lines = [f"{'stage':10}{'patches':>12}{'disk':>12}{'memory':>12}{'time':>12}"]
    lines += [_row(estimate) for estimate in (*plan.stages, plan.total)]
    fits = plan.total.memory_bytes <= plan.memory_bytes < plan.segment.memory_bytes
    apart = " (it does not fit here: run one after the other)" if fits else ""
    lines += ["", f"predict and stitch in one go{apart}:", _row(plan.segment), ""]
    nuclei = sum(image.nuclei for image in plan.images)
    cores = sum(image.cores for image in plan.images)
    glass = cores - plan.windows
    skipped = f", {glass:,} of {cores:,} windows skipped as glass" if glass else ""
    lines.append(f"{len(plan.images):,} images, about {nuclei:,} nuclei{skipped}")
    windows, images = plan.sampled_windows, plan.sampled_images
    lines.append(
        f"from {windows} windows of {images} images, on {plan.machine_cores} cores, device"
        f" {plan.device}; right within a factor of two, mostly"
    )
    there = f"there is: memory {in_bytes(plan.memory_bytes)} ({plan.memory_set_by})"
    if plan.free_bytes is not None:
        there += f", disk {in_bytes(plan.free_bytes)} ({plan.folder})"
    lines.append(there)
    if by_image:
        width = max(len(image.id) for image in plan.images)
        head = f"{'image':{width}}{'windows':>12}{'nuclei':>12}{'maps':>12}{'instances':>12}"
        lines += ["", f"{head}{'predict':>12}{'stitch':>12}"]
        lines += [
            f"{image.id:{width}}{image.windows:12,}{image.nuclei:12,}"
            f"{in_bytes(image.map_bytes):>12}{in_bytes(image.instance_bytes):>12}"
            f"{in_seconds(image.predict_seconds):>12}{in_seconds(image.stitch_seconds):>12}"
            for image in plan.images
        ]
    return lines


def _row(estimate: "StageEstimate") -> str:
    from nucleipel.stages.plan.plan import in_bytes

    return (
        f"{estimate.stage:10}{estimate.patches:12,}{in_bytes(estimate.disk_bytes):>12}"
        f"{in_bytes(estimate.memory_bytes):>12}{in_seconds(estimate.seconds):>12}"
    )


def in_seconds(seconds: float) -> str:
    """Write seconds for people."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
