"""A network with a known output, for tests of which pixels are read and where."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from nucleipel.model.checkpoint import read_checkpoint


class Darkness(nn.Module):
    """Pixels darker than half are interior; counts its windows."""

    def __init__(self) -> None:
        super().__init__()
        self.windows = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.windows += len(images)
        dark = 40 * (0.5 - images.mean(dim=1))
        return torch.stack([-dark, dark, torch.full_like(dark, -40), dark], dim=1)


def in_place_of_any(monkeypatch: pytest.MonkeyPatch, *stages: str) -> Darkness:
    """The network that these stages, and `segment`, find in whatever checkpoint they read."""
    dark = Darkness()

    def read(path: Path) -> object:
        return dataclasses.replace(read_checkpoint(path), network=dark)

    monkeypatch.setattr("nucleipel.model.foreign_model.read_model", read)  # for late imports
    for stage in stages:
        monkeypatch.setattr(f"nucleipel.stages.{stage}.read_model", read)
    return dark
