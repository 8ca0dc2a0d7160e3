"""The `demo` command: all stages on a generated slide."""

from pathlib import Path
from typing import Any

import click

from nucleipel.cli import options


@click.command()
@options.out("Folder for the slide, the runs and the result.")
@options.settings
@options.device
def demo(out: Path, overwrite: bool, **values: Any) -> None:
    """Run every stage on a generated slide; takes minutes."""
    from nucleipel.config import DemoConfig

    config = options.load(DemoConfig, values)
    from nucleipel.stages.demo import demo as run

    click.echo(f"see {run(out, config, overwrite=overwrite)}")
