"""`train --checkpoint C --set widen=[...]` goes on with a wider network, from where C was."""

from pathlib import Path

import pytest
import torch

from nucleipel.config import TrainConfig
from nucleipel.errors import CheckpointError, ConfigError
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.stages.train import train

SETTINGS = {
    "device": "cpu", "workers": 0, "mpp": 0.5, "window_px": 32, "core_px": 16,
    "windows_per_epoch": 8, "epochs": 1, "batch_size": 4,
    "network": {"features": [16, 24], "residual_units": 1},
}  # fmt: skip


def _config(**changed: object) -> TrainConfig:
    return TrainConfig.model_validate({**SETTINGS, **changed})


def test_it_goes_on_wider_and_from_where_it_was(tiny_set, tmp_path: Path) -> None:
    first = train(tiny_set.manifest, tmp_path / "first", _config())
    # steps too small to be seen: what is written is what it began with
    still = _config(widen=[20, 32], learning_rate=1e-12, weight_decay=0)
    wider = train(tiny_set.manifest, tmp_path / "wider", still, checkpoint=first)
    before, after = read_checkpoint(first), read_checkpoint(wider)
    assert after.description.network.features == (20, 32)
    image = torch.rand(1, 3, 32, 32)
    for checkpoint in (before, after):  # its running statistics went on meanwhile
        checkpoint.network.train()
    with torch.no_grad():
        expected = before.network(image)
        torch.testing.assert_close(after.network(image), expected, rtol=1e-3, atol=1e-3)
    with pytest.raises(CheckpointError, match=r"first: cannot be widened: .* has no room"):
        train(tiny_set.manifest, tmp_path / "no", _config(widen=[8, 24]), checkpoint=first)
    assert not (tmp_path / "no").exists()


def test_it_wants_a_checkpoint(tiny_set, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="widen wants a --checkpoint"):
        train(tiny_set.manifest, tmp_path / "run", _config(widen=[20, 32]))
