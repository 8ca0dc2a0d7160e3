"""Mean teacher: the running mean of the network predicts a share of its own targets.

The mean teacher of Tarvainen and Valpola (NeurIPS 2017), here for annotated
samples. Where an annotation is uncertain itself, along contours mostly, the
prediction may be nearer to the truth than the line that somebody drew.
"""

import torch
from torch import nn

from nucleipel.losses.counted_pixels import counted_pixels
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
    """Mix the targets of a batch, (B, C, H, W) and (B, 1, H, W), with the teacher's prediction.

    `share`, 0 to 1, is the weight of the prediction for the (B, channels, H, W) image.
    The teacher is put in eval mode: its map of a sample does not depend on the batch.
    Pixels that do not count stay without a class.
    """
    predicted = to_probabilities(teacher.eval()(image))
    classes = onehot.lerp(predicted[:, :-1], share)
    counted = counted_pixels(onehot)
    if counted is not None:
        classes = classes * counted
    return classes, distance.lerp(predicted[:, -1:], share)
