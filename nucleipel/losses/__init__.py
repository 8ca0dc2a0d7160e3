"""Losses on logits and one-hot annotations; `PELoss` is the one this project exists for."""

from nucleipel.losses.pel import PELoss
from nucleipel.losses.pull import pull_towards_annotation
from nucleipel.losses.recipes import (
    ClassesAndDistance,
    CrossEntropyDice,
    CrossEntropyRegion,
    Ramp,
    build_region_loss,
)

__all__ = [
    "ClassesAndDistance",
    "CrossEntropyDice",
    "CrossEntropyRegion",
    "PELoss",
    "Ramp",
    "build_region_loss",
    "pull_towards_annotation",
]
