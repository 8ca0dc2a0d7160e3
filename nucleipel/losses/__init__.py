"""Losses on logits and one-hot annotations; `PELoss` is the one this project exists for."""

from nucleipel.losses.logit_step import annotated_logit_step
from nucleipel.losses.pel import PELoss
from nucleipel.losses.training_losses import (
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
    "annotated_logit_step",
    "build_region_loss",
]
