"""The mean of related networks is a checkpoint; other means are refused, and write nothing."""

import dataclasses
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from support.untrained import State, small_network, write_untrained

from nucleipel.cli.main import cli
from nucleipel.errors import CheckpointError, OutputError
from nucleipel.io.records.output import read_record
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.stages.files.verify import verify
from nucleipel.stages.pipeline.average import average

SPEC = small_network(block_px=2, features=(8, 12))
ANCESTOR = 0


def _write(
    folder: Path, *, moved_by: float = 0.0, seed: int = ANCESTOR, boundary_px: int = 2,
    min_area_px: int = 7,
) -> Path:  # fmt: skip
    """A network that went `moved_by` into one direction from that of a seed."""

    def moved(state: State) -> State:
        torch.manual_seed(1)
        return {
            name: tensor + moved_by * torch.rand_like(tensor)
            if tensor.is_floating_point()
            else tensor
            for name, tensor in state.items()
        }

    return write_untrained(
        folder, SPEC, seed=seed, boundary_px=boundary_px, changed=moved,
        instances={"min_area_px": min_area_px}, config={"epochs": 3},
    )  # fmt: skip


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(read_checkpoint(folder).network.state_dict())


def _require_equal(one: Path, other: Path) -> None:
    ours, theirs = _weights(one), _weights(other)
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-6, atol=1e-7)


def test_the_mean_lies_half_way_and_who_is_named_twice_counts_twice(tmp_path: Path) -> None:
    start = _write(tmp_path / "start")
    moved = _write(tmp_path / "moved", moved_by=0.03)
    half = _write(tmp_path / "half", moved_by=0.015)
    third = _write(tmp_path / "third", moved_by=0.01)
    _require_equal(average([start, moved], tmp_path / "mean"), half)
    _require_equal(average([moved, start], tmp_path / "turned"), half)
    _require_equal(average([start, moved, start], tmp_path / "twice"), third)


def test_it_is_described_as_the_first_and_names_its_parts(tmp_path: Path) -> None:
    first = _write(tmp_path / "first", min_area_px=7)
    second = _write(tmp_path / "second", moved_by=0.01, min_area_px=99)
    mean = read_checkpoint(average([first, second], tmp_path / "mean")).description
    was = [read_checkpoint(path) for path in (first, second)]
    assert mean.instances == {"min_area_px": 7}
    assert mean.config == {"epochs": 3, "average_of": [model.sha256 for model in was]}
    assert mean.parent_sha256 == was[0].sha256
    expected = dataclasses.replace(
        was[0].description, config=mean.config, parent_sha256=mean.parent_sha256
    )
    assert mean == expected
    assert not verify(tmp_path / "mean")[0].broken


def test_what_has_no_common_ancestor_is_refused(tmp_path: Path) -> None:
    start = _write(tmp_path / "start")
    other = _write(tmp_path / "other", seed=5)
    coarser = _write(tmp_path / "coarser", boundary_px=3)
    with pytest.raises(CheckpointError, match=r"other: was not trained on from the same weights"):
        average([start, other], tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"coarser: its boundary_px is 3, that of .* 2"):
        average([start, coarser], tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"1 checkpoint to average; name two or more"):
        average([start], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_ends_in_the_same_bytes_and_never_replaces_another_mean(tmp_path: Path) -> None:
    start = _write(tmp_path / "start")
    moved = _write(tmp_path / "moved", moved_by=0.03)
    words = ["average", str(start), str(moved), "--out", str(tmp_path / "mean")]
    assert CliRunner().invoke(cli, words).exit_code == 0
    before = read_checkpoint(tmp_path / "mean").fingerprint
    assert CliRunner().invoke(cli, words).exit_code == 0
    assert read_checkpoint(tmp_path / "mean").fingerprint == before
    assert read_record(tmp_path / "mean", stage="average")["complete"]
    with pytest.raises(OutputError, match="another checkpoint 1"):
        average([moved, start], tmp_path / "mean")
    assert read_checkpoint(tmp_path / "mean").fingerprint == before
