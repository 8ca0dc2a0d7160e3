"""A full disk is reported in one line; other errors of the system keep their traceback."""

import errno
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from nucleipel.cli.main import cli


def _fail_with(error: OSError, monkeypatch: pytest.MonkeyPatch) -> click.testing.Result:
    def train(**_: object) -> None:
        raise error

    monkeypatch.setitem(cli.commands, "train", click.Command("train", callback=train))
    return CliRunner().invoke(cli, ["train"])


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ""),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "run/mask.tif"), "run/mask.tif: "),
        (OSError("65536 requested and 64976 written"), ""),
    ],
)
def test_it_says_what_to_do(error: OSError, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = _fail_with(error, monkeypatch)
    assert done.exit_code == 1
    assert done.stderr == (
        f"error: {named}no space left on the disk, or over quota; what is finished stays:"
        " free some space, and the same command continues\n"
    )


def test_numpy_still_says_it_so() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError) as caught:
        np.zeros(100_000).tofile(full)
    assert caught.value.errno == errno.ENOSPC or "requested and" in str(caught.value)


def test_another_error_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    done = _fail_with(PermissionError(errno.EACCES, "no"), monkeypatch)
    assert isinstance(done.exception, PermissionError)
