"""Trains on discs, as one of several processes or alone.

BatchNorm stays in eval mode, so that its statistics cannot depend on how a batch is shared out.
"""

import os
from pathlib import Path

import torch

from nucleipel.core.stop_signals import listening
from nucleipel.losses import ClassesAndDistance, CrossEntropyDice
from nucleipel.model.network import build_network
from nucleipel.training.distributed import build_fabric
from nucleipel.training.fit import FitOptions, fit
from support.discs import SPEC, Discs


class _Frozen(torch.nn.Module):
    """A network whose BatchNorm does not learn statistics."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(image)

    def train(self, mode: bool = True) -> "_Frozen":
        return super().train(False)


class _Deadly(Discs):
    """Samples; when this process comes to a certain one, it is gone."""

    def __init__(self, deadly: int, out: Path) -> None:
        self.deadly, self.out = deadly, out

    def __getitem__(self, number: int):
        if number == self.deadly:
            os.kill(os.getpid(), 9)
        with (self.out / f"seen-{os.environ.get('RANK', 'alone')}").open("a") as stream:
            stream.write(f"{number}\n")
        return super().__getitem__(number)


def train_discs(arguments: list[str]) -> None:
    """Train; the arguments are the output, the size of a batch, and the sample that kills."""
    out, batch_size, deadly = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    torch.set_num_threads(1)
    options = FitOptions(
        epochs=3, steps_per_epoch=4, batch_size=batch_size, optimizer="muon", learning_rate=1e-2,
        weight_decay=1e-4, warmup_steps=2, ema_decay=0.9, clip_norm=1.0, validate_every=1,
        patience=10,
    )  # fmt: skip
    with listening():
        fit(
            build_fabric("cpu", seed=0),
            _Frozen(build_network(SPEC)),
            ClassesAndDistance(CrossEntropyDice(1, 1), distance_weight=1),
            _Deadly(deadly, out),
            lambda network: {
                "pq": 0.5,
                "dice": 0.5,
                "loss": float(sum(map(torch.sum, network.parameters()))),
            },
            options=options,
            out=out,
        )
