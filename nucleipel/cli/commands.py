"""One shell a command: read the settings, call the stage, name the result.

Imports inside the commands are late on purpose: torch takes seconds, `--help`
must not.
"""

from collections.abc import Sequence
from pathlib import Path

import click

from nucleipel.cli import options
from nucleipel.cli.main import cli


def _with_device(assignments: Sequence[str], device: str | None) -> list[str]:
    return [*assignments, f"device={device}"] if device else list(assignments)


@cli.command()
@options.manifest
@options.data_root
@options.out("Folder for the run.")
@options.settings
@options.device
def train(
    manifest: Path,
    data_root: Path | None,
    out: Path,
    overwrite: bool,
    config_file: Path | None,
    assignments: Sequence[str],
    device: str | None,
) -> None:
    """Train a network on whole images and slides."""
    from nucleipel.config import TrainConfig, load_config

    config = load_config(
        TrainConfig, file=config_file, assignments=_with_device(assignments, device)
    )
    from nucleipel.stages.train import train as run

    click.echo(run(manifest, out, config, data_root=data_root, overwrite=overwrite))
