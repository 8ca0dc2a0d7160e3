"""deviation and ablate on the command line; mistakes in one line."""

import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from support.untrained import small_network, write_untrained

from nucleipel.cli import cli

pytestmark = pytest.mark.slow


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def _refused(message: str, *arguments: object) -> None:
    result = _run(*arguments)
    assert result.exit_code == 1, result.output
    printed = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(printed) == 1, result.stderr
    assert re.search(message, printed[0]), printed[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return write_untrained(tmp_path_factory.mktemp("run"), small_network(block_px=1))


def test_deviation_of_chosen_images(run: Path, tiny_set, tmp_path: Path) -> None:
    rows = ["--manifest", tiny_set.manifest, "--ids", "val, test"]
    out = tmp_path / "out"
    result = _run(
        "deviation", "--checkpoint", run, "--after", run, *rows, "--out", out,
        "--device", "cpu", "--set", "patch_px=64",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out)
    assert sorted(file.stem for file in (out / "panels").glob("*.png")) == ["test", "val"]
    _refused(
        "no image has the id 'vall'; did you mean 'val'",
        "deviation", "--checkpoint", run, "--manifest", tiny_set.manifest, "--ids", "vall",
        "--out", tmp_path / "other",
    )  # fmt: skip
    _refused(
        "no row has split 'tset'",
        "deviation", "--checkpoint", run, "--manifest", tiny_set.manifest, "--split", "tset",
        "--out", tmp_path / "other",
    )  # fmt: skip
    _refused(
        "no such checkpoint", "deviation", "--checkpoint", tmp_path / "none", *rows, "--out",
        tmp_path / "other",
    )  # fmt: skip
    assert not (tmp_path / "other").exists()


def test_ablate_names_what_is_missing(run: Path, tiny_set, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "out"]
    _refused("base is not set", "ablate", "--manifest", tiny_set.manifest, *out)
    _refused("manifest is not set", "ablate", "--checkpoint", run, *out)
    inputs = ["--checkpoint", run, "--manifest", tiny_set.manifest]
    _refused(
        r"finetune\.region_loss is set by the arms",
        "ablate", *inputs, "--set", "finetune.region_loss=dice", *out,
    )  # fmt: skip
    _refused("no such manifest", "ablate", "--checkpoint", run, "--manifest", "m.csv", *out)
    if not torch.cuda.is_available():
        _refused("no usable GPU was found", "ablate", *inputs, "--device", "cuda", *out)
    assert not (tmp_path / "out").exists()
