"""MONAI's Dice loss, which tests compare ours with."""

import torch


def monai_dice() -> torch.nn.Module:
    from monai.losses import DiceLoss  # late: it takes seconds, and each process reads every test

    return DiceLoss(softmax=True)
