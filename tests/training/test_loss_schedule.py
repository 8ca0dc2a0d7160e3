"""Losses with a schedule: each step knows its progress, also after a kill; and the last weights."""

import dataclasses
from pathlib import Path

import pytest
import torch

from nucleipel.data.sample import Sample
from nucleipel.training.distributed import build_fabric
from nucleipel.training.fit import FitOptions, fit

OPTIONS = FitOptions(
    epochs=3,
    steps_per_epoch=2,
    batch_size=2,
    optimizer="adamw",
    learning_rate=1e-2,
    weight_decay=0,
    warmup_steps=0,
    ema_decay=0.5,
    clip_norm=1.0,
    validate_every=1,
    patience=1,
)


class Noise(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 100

    def __getitem__(self, number: int) -> Sample:
        generator = torch.Generator().manual_seed(number)
        image = torch.rand(1, 4, 4, generator=generator)
        return Sample(image, image, image, torch.zeros(4, 4, dtype=torch.int32))


class Moving(torch.nn.Module):
    """A loss that records the progress at which it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = 1.0
        self.progresses: list[float] = []

    def set_progress(self, progress: float) -> None:
        self.progress = progress

    def forward(self, outputs: torch.Tensor, onehot: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        self.progresses.append(self.progress)
        return ((outputs - onehot) ** 2).mean() * (1 + self.progress)


def _fit(out: Path, loss: Moving, validate, *, keep_last: bool = True):
    out.mkdir(exist_ok=True)
    fabric = build_fabric("cpu", seed=0)
    return fit(
        fabric,
        torch.nn.Conv2d(1, 1, 1),
        loss,
        Noise(),
        validate,
        options=dataclasses.replace(OPTIONS, start_counts=True, keep_last=keep_last),
        out=out,
    )


def _falling() -> object:
    scores = iter([0.9, 0.8, 0.7, 0.6, 0.5])
    return lambda _: {"pq": next(scores), "dice": 0.0, "loss": 0.0}


def test_each_step_knows_its_place(tmp_path: Path) -> None:
    loss = Moving()
    _fit(tmp_path / "run", loss, _falling())
    assert loss.progresses == pytest.approx([step / 6 for step in range(6)])


def test_a_killed_training_goes_on_with_the_place_it_had(tmp_path: Path) -> None:
    whole = _fit(tmp_path / "whole", Moving(), _falling())
    calls = []

    def killing(_: torch.nn.Module) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 3:  # the start, the first epoch, and now
            raise KeyboardInterrupt
        return {"pq": 0.9, "dice": 0.0, "loss": 0.0}

    with pytest.raises(KeyboardInterrupt):
        _fit(tmp_path / "killed", Moving(), killing)
    loss = Moving()
    resumed = _fit(tmp_path / "killed", loss, _falling())
    assert loss.progresses == pytest.approx([step / 6 for step in range(2, 6)])
    for name, tensor in whole.weights.items():
        assert torch.equal(tensor, resumed.weights[name]), name


def test_the_last_weights_are_kept_and_nothing_stops_early(tmp_path: Path) -> None:
    last = _fit(tmp_path / "last", Moving(), _falling())
    assert (last.epoch, last.pq) == (3, 0.6)
    best = _fit(tmp_path / "best", Moving(), _falling(), keep_last=False)
    assert (best.epoch, best.pq) == (0, 0.9)
    assert not torch.equal(last.weights["weight"], best.weights["weight"])
