"""The commands that compare losses: where a network is wrong, and which loss helps."""

from pathlib import Path
from typing import Any

import click

from nucleipel.cli import options


@click.command()
@options.checkpoint
@click.option("--after", type=options.PATH, help="The same network after fine-tuning.")
@options.manifest
@options.split
@options.data_root
@click.option("--ids", help="Only these images, separated by commas.")
@options.out("Folder for the pictures, one an image.")
@options.settings
@options.device
def deviation(
    checkpoint: Path,
    after: Path | None,
    manifest: Path,
    ids: str | None,
    out: Path,
    overwrite: bool,
    **values: Any,
) -> None:
    """Draw where a network deviates from the annotation.

    And which pixels each form of PEL pulls on.
    """
    from nucleipel.config import DeviationConfig

    config = options.load(DeviationConfig, values)
    rows = options.read_rows({**values, "manifest": manifest, "images": ()})
    if ids is not None:
        rows = rows.of_ids([name.strip() for name in ids.split(",")])
    from nucleipel.stages.experiments.deviation import deviation as run

    click.echo(run(checkpoint, rows, out, config, after=after, overwrite=overwrite))


@click.command()
@click.option("--checkpoint", type=options.PATH, help="Short for --set base=...")
@click.option("--manifest", type=options.PATH, help="Short for --set manifest=...")
@click.option("--data-root", type=options.PATH, help="Short for --set data_root=...")
@options.out("Folder for the runs, the tables and the report.")
@options.settings
@options.device
def ablate(out: Path, overwrite: bool, **values: Any) -> None:
    """Compare losses for fine-tuning; takes long.

    Runs a grid on val, chooses finalists by it, scores them on test, and ends
    in report.md. The same command continues; more arms and seeds may be added.
    """
    from nucleipel.config import AblateConfig

    inputs = {"checkpoint": "base", "manifest": "manifest", "data_root": "data_root"}
    config = options.load(AblateConfig, values, shorts=inputs)
    from nucleipel.stages.experiments.ablate import ablate as run

    click.echo(run(out, config, overwrite=overwrite))
