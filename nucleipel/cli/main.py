"""The `nucleipel` command: its help, its log, and errors in one line."""

import errno
import logging
import re
import sys
import warnings
from itertools import chain

import click

from nucleipel import __version__
from nucleipel.cli.commands import COMMANDS
from nucleipel.core.machine import limit_threads
from nucleipel.core.stop_signals import Stopped, listening
from nucleipel.errors import NucleipelError

INTERRUPTED = 130


class _Commands(click.Group):
    """Commands under headings; a user's mistake ends with one line and exit code 1.

    A bug keeps its traceback.
    """

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for name in self.commands)
        for heading, commands in COMMANDS.items():
            limit = formatter.width - width - 6
            lines = [
                (f"{command.name:{width}}", command.get_short_help_str(limit))
                for command in commands
            ]
            with formatter.section(heading):
                formatter.write_dl(lines)

    def invoke(self, ctx: click.Context) -> object:
        try:
            with listening():
                return super().invoke(ctx)
        except NucleipelError as error:
            click.echo(f"error: {_in_one_line(str(error))}", err=True)
            ctx.exit(1)
        except OSError as error:
            if not _is_full_disk(error):
                raise
            click.echo(f"error: {_full_disk_message(error)}", err=True)
            ctx.exit(1)
        except Stopped as stop:
            _discard_silently()
            click.echo(f"stopped by {stop}: the same command continues", err=True)
            ctx.exit(stop.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted: the same command continues", err=True)
            ctx.exit(INTERRUPTED)


def _discard_silently() -> None:
    """Keep Python from printing about what a stop left half made, as this process ends.

    A stop may fall into the making of zarr's event loop, say; its clean-up then complains.
    """
    sys.unraisablehook = lambda _: None
    warnings.simplefilter("ignore")


def _is_full_disk(error: OSError) -> bool:
    # NumPy, which writes the pixels of TIFFs, says it in words only
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or bool(
        re.search(r"\d+ requested and \d+ written", str(error))
    )


def _full_disk_message(error: OSError) -> str:
    where = f"{_in_one_line(str(error.filename))}: " if error.filename else ""
    return (
        f"{where}no space left on the disk, or over quota; what is finished stays:"
        " free some space, and the same command continues"
    )


def _in_one_line(text: str) -> str:
    """The text with what breaks lines or steers a terminal (in a file's name, say) spelled out."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", is_flag=True, help="Print more.")
@click.option("-q", "--quiet", is_flag=True, help="Print only warnings; no progress bars.")
@click.version_option(__version__)
def cli(verbose: bool, quiet: bool) -> None:
    """Segment nuclei: train, tile, fine-tune with PEL, predict and stitch whole slides.

    segment is predict and stitch in one go; demo runs all stages; plan
    estimates what a run will take.
    """
    limit_threads()
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logger = logging.getLogger("nucleipel")
    logger.setLevel(level)
    logger.handlers = [_StderrHandler()]
    logger.propagate = False


for command in chain.from_iterable(COMMANDS.values()):
    cli.add_command(command)


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to whatever stderr is at the moment, so that bars and test runners may replace it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def main() -> None:
    """Entry point of the `nucleipel` script."""
    cli()
