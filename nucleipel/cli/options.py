"""The options that several commands share, defined once."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from pydantic import BaseModel

C = TypeVar("C", bound="BaseModel")

Command = Callable[..., Any]

PATH = click.Path(path_type=Path)  # existence is checked by the stage, with a better message


def _stack(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


manifest = click.option(
    "--manifest", type=PATH, required=True, help="CSV of images; see data_manifests/README.md."
)
optional_manifest = click.option(
    "--manifest", type=PATH, help="CSV of images, instead of naming them."
)
split = click.option("--split", help="Only the rows of this split: train, val or test.")
data_root = click.option(
    "--data-root", type=PATH, help="Folder that the manifest's paths start from (default: its own)."
)
images = click.argument("images", nargs=-1, type=PATH, metavar="[IMAGE]...")
checkpoint = click.option(
    "--checkpoint", type=PATH, required=True, help="A run folder, or the checkpoint file in it."
)
device = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Short for --set device=..."
)


def out(what: str) -> Callable[[Command], Command]:
    """`--out` and `--overwrite`."""
    return _stack(
        click.option("--out", type=PATH, required=True, help=what),
        click.option("--overwrite", is_flag=True, help="Replace another run found there."),
    )


settings = _stack(
    click.option("--config", "config_file", type=PATH, help="YAML file of settings."),
    click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change one setting; may be repeated. Groups by dots: network.features=[16,32].",
    ),
)


def load(
    kind: type[C],
    *,
    config_file: Path | None,
    assignments: Sequence[str],
    device: str | None = None,
) -> C:
    """The settings of a command, from what `settings` and `device` were given."""
    from nucleipel.config import load_config

    if device:
        assignments = [*assignments, f"device={device}"]
    return load_config(kind, file=config_file, assignments=assignments)
