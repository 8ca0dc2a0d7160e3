"""What a loss asks of each pixel: its gradient, as a picture of the pixels that it works on."""

from collections.abc import Callable

import torch

SMALLEST = 1e-30


def pull_towards_annotation(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    probabilities: torch.Tensor,
    onehot: torch.Tensor,
) -> torch.Tensor:
    """(H, W) step that gradient descent would take in the logit of each pixel's annotated class.

    Above 0 a pixel is pulled to its annotation, below 0 it is pushed away.
    `probabilities` and `onehot` are (C, H, W), and are the one patch of the loss.
    """
    # softmax(log p) is p, so any logits that give p serve
    logits = probabilities.clamp_min(SMALLEST).log()[None].requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, onehot[None]), logits)
    return -(gradient[0] * onehot).sum(dim=0)
