"""The losses that the stages train with: a loss of the classes, and one of the distance."""

import torch
from monai.losses import DiceLoss
from torch import nn

from nucleipel.losses.pel import PELoss


class CrossEntropyDice(nn.Module):
    """Cross-entropy plus soft Dice (MONAI's), the mean over patches of each."""

    def __init__(self, cross_entropy_weight: float, dice_weight: float) -> None:
        super().__init__()
        self.cross_entropy_weight = cross_entropy_weight
        self.dice_weight = dice_weight
        self.dice = DiceLoss(softmax=True)

    def forward(self, logits: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
        """Weighted sum for (B, C, H, W) logits and one-hot annotation."""
        entropy = nn.functional.cross_entropy(logits.float(), onehot)
        dice: torch.Tensor = self.dice(logits.float(), onehot)
        return self.cross_entropy_weight * entropy + self.dice_weight * dice


class ClassesAndDistance(nn.Module):
    """A loss of the class logits, plus binary cross-entropy of the distance (StarDist's choice)."""

    def __init__(self, classes: nn.Module, *, distance_weight: float) -> None:
        super().__init__()
        self.classes = classes
        self.distance_weight = distance_weight

    def forward(
        self, outputs: torch.Tensor, onehot: torch.Tensor, distance: torch.Tensor
    ) -> torch.Tensor:
        """Weighted sum; outputs (B, C + 1, H, W), onehot (B, C, H, W), distance (B, 1, H, W)."""
        of_classes: torch.Tensor = self.classes(outputs[:, :-1], onehot)
        of_distance = nn.functional.binary_cross_entropy_with_logits(
            outputs[:, -1:].float(), distance
        )
        return of_classes + self.distance_weight * of_distance


class CrossEntropyPEL(nn.Module):
    """Cross-entropy plus PEL, each patch on its own, then the mean over patches."""

    def __init__(self, pel: PELoss, *, cross_entropy_weight: float, pel_weight: float) -> None:
        super().__init__()
        self.pel = pel
        self.cross_entropy_weight = cross_entropy_weight
        self.pel_weight = pel_weight

    def forward(self, logits: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
        """Weighted sum for (B, C, H, W) logits and one-hot annotation."""
        # patches have one size, so the mean over all pixels is the mean of the patches' means
        entropy = nn.functional.cross_entropy(logits.float(), onehot)
        pel: torch.Tensor = self.pel(logits, onehot)
        return self.cross_entropy_weight * entropy + self.pel_weight * pel
