"""Losses on logits and one-hot annotations; `PELoss` is the one this project exists for."""

from nucleipel.losses.pel import PELoss
from nucleipel.losses.recipes import CrossEntropyDice, CrossEntropyPEL

__all__ = ["CrossEntropyDice", "CrossEntropyPEL", "PELoss"]
