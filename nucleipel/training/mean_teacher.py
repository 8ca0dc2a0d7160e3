"""Targets in which a teacher has a say: the running mean of the network that is being trained.

The mean teacher of Tarvainen and Valpola (NeurIPS 2017), here for annotated
samples. Where an annotation is uncertain itself, along contours mostly, what
the network has come to expect may be nearer to the truth than the line that
somebody drew.
"""

import torch
from torch import nn

from nucleipel.losses.counted import counted_pixels
from nucleipel.model.network import to_probabilities


@torch.no_grad()
def mixed_targets(
    teacher: nn.Module,
    image: torch.Tensor,
    onehot: torch.Tensor,
    distance: torch.Tensor,
    *,
    share: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The targets of a batch, (B, C, H, W) and (B, 1, H, W), `share` of them as the teacher has it.

    The teacher is put in eval mode: its map of a sample does not depend on the batch.
    Pixels that do not count stay without a class.
    """
    expected = to_probabilities(teacher.eval()(image))
    classes = onehot.lerp(expected[:, :-1], share)
    counted = counted_pixels(onehot)
    if counted is not None:
        classes = classes * counted
    return classes, distance.lerp(expected[:, -1:], share)
