"""`train` keeps the weights of the best PQ; with `keep: last` the last ones, whatever their PQ."""

import json
import logging
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from nucleipel.config import TrainConfig
from nucleipel.core.atomic import read_sealed_json, write_sealed_json
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.stages.pipeline.train import train
from nucleipel.training import fit
from nucleipel.training.training_log import read_training_log

pytestmark = pytest.mark.slow

CONFIG = {
    "device": "cpu", "workers": 0, "mpp": 0.5, "window_px": 32, "core_px": 16,
    "windows_per_epoch": 16, "epochs": 2, "batch_size": 4, "warmup_steps": 0,
    "network": {"features": [16, 24], "residual_units": 1},
}  # fmt: skip
RUINOUS = TrainConfig.model_validate(CONFIG | {"learning_rate": 30.0, "ema_decay": 0.0})
"""No epoch of it is better than any start."""


@pytest.fixture(scope="module")
def start(tiny_set, tmp_path_factory) -> Path:
    config = TrainConfig.model_validate(CONFIG | {"learning_rate": 1e-2, "epochs": 4})
    run = train(tiny_set.manifest, tmp_path_factory.mktemp("start") / "run", config)
    assert read_training_log(run)[0]["epoch"] == 1, "weights that are random do not count"
    return run


def test_a_training_that_does_not_help_keeps_its_start(
    tiny_set, start: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        run = train(tiny_set.manifest, tmp_path / "run", RUINOUS, checkpoint=start)
    rows = read_training_log(run)
    best = json.loads((start / "nucleipel.json").read_text())["val_pq"]
    assert best > 0
    assert rows[0]["epoch"] == 0
    assert rows[0]["val_pq"] == pytest.approx(best, abs=1e-9)
    assert "loss" not in rows[0]
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert max(row["val_pq"] for row in rows[1:]) < best
    kept, was = (read_checkpoint(folder).network.state_dict() for folder in (run, start))
    assert all(torch.equal(tensor, kept[name]) for name, tensor in was.items())
    assert json.loads((run / "nucleipel.json").read_text())["val_pq"] == rows[0]["val_pq"]
    assert "epoch 0: val_loss" in caplog.text
    assert f"no epoch has a better PQ on val than the checkpoint ({best:.4f})" in caplog.text


def test_the_last_weights_below_the_start_are_reported(
    tiny_set, start: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = RUINOUS.model_copy(update={"keep": "last", "epochs": 1})
    train(tiny_set.manifest, tmp_path / "run", config, checkpoint=start)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("PQ on val" in line for line in warned), warned


def _killed_in_epoch_2(monkeypatch: pytest.MonkeyPatch, *arguments, **named) -> None:
    real, epochs = fit._Training.run_epoch, []

    def killed_later(*arguments, **named):
        epochs.append(1)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(fit._Training, "run_epoch", killed_later)
        with pytest.raises(KeyboardInterrupt):
            train(*arguments, **named)


def test_killed_it_ends_with_the_same_bytes(
    tiny_set, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tiny_set.manifest, tmp_path / "whole", RUINOUS, checkpoint=start)
    again = (tiny_set.manifest, tmp_path / "killed", RUINOUS)
    _killed_in_epoch_2(monkeypatch, *again, checkpoint=start)
    train(*again, checkpoint=start)
    for name in ("checkpoint.safetensors", "metrics.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_run_of_an_earlier_version_goes_on_without_its_start(
    tiny_set, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    again = (tiny_set.manifest, tmp_path / "run", RUINOUS)
    _killed_in_epoch_2(monkeypatch, *again, checkpoint=start)
    state = read_sealed_json(tmp_path / "run" / "state.json")
    state |= {"rows": state["rows"][1:], "best_epoch": 1, "best_pq": 0.0}
    write_sealed_json(tmp_path / "run" / "state.json", state)
    train(*again, checkpoint=start)
    assert "begun by a version that did not score its start" in caplog.text
    assert [row["epoch"] for row in read_training_log(tmp_path / "run")] == [1, 2]


def test_it_goes_on_to_the_end_and_keeps_the_last_weights(tiny_set, tmp_path: Path) -> None:
    config = TrainConfig.model_validate(
        {
            "device": "cpu", "workers": 0, "mpp": 0.5, "window_px": 32, "core_px": 16,
            "windows_per_epoch": 16, "epochs": 5, "batch_size": 4, "patience": 1,
            "network": {"features": [16, 24], "residual_units": 1}, "keep": "last",
        }
    )  # fmt: skip
    run = train(tiny_set.manifest, tmp_path / "run", config)
    scores = [row["val_pq"] for row in read_training_log(run)]
    assert min(after - before for before, after in pairwise(scores)) <= 0, "no gain: impatience"
    assert len(scores) == 5
    record = json.loads((run / "nucleipel.json").read_text())
    assert record["val_pq"] == scores[-1]
