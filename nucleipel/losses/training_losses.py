"""The losses that the stages train with: a loss of the classes, and one of the distance."""

from dataclasses import dataclass

import torch
from torch import nn

from nucleipel.losses.counted_pixels import counted_pixels, mean_of_counted, mean_of_pixels
from nucleipel.losses.pel import EPSILON, PELoss

MONAI_EPSILON = 1e-5
"""Addend of MONAI's Dice above and below the line: a class that is nowhere scores 1."""


@dataclass(frozen=True, slots=True)
class Ramp:
    """A number that goes in a straight line from `start` to `end`, then stays.

    `share` is the part of a training that it takes; 0 is `end` from the first step.
    """

    start: float
    end: float
    share: float

    def at(self, progress: float) -> float:
        """Return the number at a `progress` of the training, 0 to 1."""
        if progress >= self.share:
            return self.end
        return self.start + (self.end - self.start) * progress / self.share


class CrossEntropyDice(nn.Module):
    """Cross-entropy plus soft Dice, the mean over patches of each."""

    def __init__(self, cross_entropy_weight: float, dice_weight: float) -> None:
        super().__init__()
        self.cross_entropy_weight = cross_entropy_weight
        self.dice_weight = dice_weight
        self.dice = Dice()

    def forward(self, logits: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
        """Weighted sum of both for (B, C, H, W) logits and one-hot annotation."""
        entropy = _cross_entropy(logits, onehot)
        dice: torch.Tensor = self.dice(logits.float(), onehot)
        return self.cross_entropy_weight * entropy + self.dice_weight * dice


class CrossEntropyRegion(nn.Module):
    """Cross-entropy plus a region loss, each patch on its own, then the mean over patches.

    Parameters
    ----------
    region : Module, optional
        A loss of (B, C, H, W) logits and one-hot annotation, PEL or Dice say;
        cross-entropy alone if None.
    cross_entropy_weight : float
        Factor on the cross-entropy.
    region_weight : float or Ramp
        Factor on the region loss; a ramp changes it during the training.
    exponent : Ramp, optional
        PEL's n during the training; without it n stays as `region` has it.
    """

    def __init__(
        self,
        region: nn.Module | None,
        *,
        cross_entropy_weight: float,
        region_weight: float | Ramp = 1.0,
        exponent: Ramp | None = None,
    ) -> None:
        super().__init__()
        self.region = region
        self.cross_entropy_weight = cross_entropy_weight
        if not isinstance(region_weight, Ramp):
            region_weight = Ramp(region_weight, region_weight, 0)
        self.region_ramp = region_weight
        self.exponent_ramp = exponent
        # as at the end of a training, until its progress is set
        self.set_progress(1)

    def set_progress(self, progress: float) -> None:
        """Set the weight and exponent for a training's progress, 0 to 1."""
        self.region_weight = self.region_ramp.at(progress)
        if self.exponent_ramp and isinstance(self.region, PELoss):
            self.region.n = self.exponent_ramp.at(progress)

    def forward(self, logits: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
        """Weighted sum of both for (B, C, H, W) logits and one-hot annotation."""
        total = self.cross_entropy_weight * _cross_entropy(logits, onehot)
        if self.region is None:
            return total
        region: torch.Tensor = self.region(logits.float(), onehot)
        return total + self.region_weight * region


class ClassesAndDistance(nn.Module):
    """A loss of the class logits, plus binary cross-entropy of the distance (StarDist's choice)."""

    def __init__(self, classes: nn.Module, *, distance_weight: float) -> None:
        super().__init__()
        self.classes = classes
        self.distance_weight = distance_weight

    def set_progress(self, progress: float) -> None:
        """Set a training's progress, 0 to 1, in the loss of the classes if it has a ramp."""
        if isinstance(self.classes, CrossEntropyRegion):
            self.classes.set_progress(progress)

    def forward(
        self, outputs: torch.Tensor, onehot: torch.Tensor, distance: torch.Tensor
    ) -> torch.Tensor:
        """Weighted sum; outputs (B, C + 1, H, W), onehot (B, C, H, W), distance (B, 1, H, W)."""
        of_classes: torch.Tensor = self.classes(outputs[:, :-1], onehot)
        of_distance = mean_of_pixels(
            nn.functional.binary_cross_entropy_with_logits,
            outputs[:, -1:].float(), distance, counted_pixels(onehot),
        )  # fmt: skip
        return of_classes + self.distance_weight * of_distance


class Dice(nn.Module):
    """Soft Dice loss of the softmax, the mean over classes and patches.

    To the bit `monai.losses.DiceLoss` (1.6), which a test checks: `import monai` takes seconds, and
    every training needs this loss.
    """

    def forward(self, logits: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
        """Mean over classes and patches for (B, C, H, W) logits and one-hot annotation."""
        p = _probabilities(logits, onehot)
        hit = (p * onehot).sum(dim=(2, 3))
        half_false = 0.5 * (p.sum(dim=(2, 3)) - hit)
        half_missed = 0.5 * (onehot.sum(dim=(2, 3)) - hit)
        both = 2 * (hit + half_false + half_missed)
        return (1 - (2 * hit + MONAI_EPSILON) / (both + MONAI_EPSILON)).mean()


class DiceFocal(nn.Module):
    """Soft Dice plus MONAI's focal loss (Lin et al. 2017, gamma 2), both of the softmax.

    MONAI's own DiceFocalLoss takes the focal loss of sigmoids, one class
    against the rest, which is not what a network with a softmax was trained for.
    """

    def __init__(self) -> None:
        from monai.losses import FocalLoss  # late: `import monai` takes seconds

        super().__init__()
        self.dice = Dice()
        self.focal = FocalLoss(gamma=2.0, use_softmax=True, reduction="none")

    def forward(self, logits: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
        """Sum of both for (B, C, H, W) logits and one-hot annotation."""
        # over classes the sum, as cross-entropy has it; over pixels and patches the mean
        focal = mean_of_counted(self.focal(logits, onehot).sum(dim=1), counted_pixels(onehot))
        dice: torch.Tensor = self.dice(logits, onehot)
        return dice + focal


class FocalTversky(nn.Module):
    """Focal Tversky loss (Abraham and Khan 2019): (1 - Tversky index) ** .75, MONAI's index.

    Misses weigh .7 and false alarms .3, as its authors chose.
    """

    def __init__(self) -> None:
        from monai.losses import TverskyLoss  # late: `import monai` takes seconds

        super().__init__()
        self.tversky = TverskyLoss(alpha=0.3, beta=0.7, reduction="none")

    def forward(self, logits: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
        """Mean over classes and patches for (B, C, H, W) logits and one-hot annotation."""
        # the slope is infinite at 0, which rounding may even fall short of
        index = self.tversky(_probabilities(logits, onehot), onehot)
        return (index.clamp_min(EPSILON) ** 0.75).mean()


def build_region_loss(name: str) -> nn.Module | None:
    """Build a region loss other than PEL by its name in the settings; None for "none".

    Raises
    ------
    ValueError
        If there is no such loss.
    """
    if name == "none":
        return None
    if name == "dice":
        return Dice()
    if name == "dice_focal":
        return DiceFocal()
    if name == "focal_tversky":
        return FocalTversky()
    raise ValueError(f"region loss '{name}'; expected dice, dice_focal, focal_tversky or none")


def _cross_entropy(logits: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
    return mean_of_pixels(
        nn.functional.cross_entropy, logits.float(), onehot, counted_pixels(onehot)
    )


def _probabilities(logits: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
    """(B, C, ...) softmax, 0 where nothing counts: a sum then leaves it out, as the annotation."""
    p = logits.softmax(dim=1)
    counted = counted_pixels(onehot)
    return p if counted is None else p * counted
