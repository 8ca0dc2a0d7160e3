"""Run commands within limits; bad input must give one clear line and exit code 1."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from click.testing import CliRunner

from nucleipel.cli import cli

SECONDS = 120
BYTES = 3 * 2**30


def refusal(*arguments: object, untouched: Path | None = None) -> str:
    """The message of a command that must fail; the output `untouched` must not exist afterwards."""
    with bounded():
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    message = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(message) == 1, result.stderr
    assert result.stderr.endswith(message[0] + "\n"), result.stderr
    assert "Traceback" not in result.output
    assert untouched is None or not untouched.exists()
    return message[0].removeprefix("error: ")


def accepted(*arguments: object) -> str:
    """What a command says that must succeed."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@contextmanager
def bounded(more_bytes: int = BYTES) -> Iterator[None]:
    """Fail when the block hangs, or asks for more memory than any bad file is worth."""

    def too_long(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"not done after {SECONDS} s")

    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    handler = signal.signal(signal.SIGALRM, too_long)
    resource.setrlimit(resource.RLIMIT_AS, (used + more_bytes, before[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGALRM, handler)
