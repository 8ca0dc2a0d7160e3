"""The gradient of a loss in each pixel, as a picture of the pixels that the loss works on."""

from collections.abc import Callable

import torch

SMALLEST = 1e-30


def annotated_logit_step(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    probabilities: torch.Tensor,
    onehot: torch.Tensor,
) -> torch.Tensor:
    """Compute the step of gradient descent in the logit of each pixel's annotated class.

    Parameters
    ----------
    loss : callable
        Takes (1, C, H, W) logits and one-hot annotation.
    probabilities : (C, H, W) float tensor
        Softmax probabilities, the one patch of the loss.
    onehot : (C, H, W) float tensor
        One-hot annotation.

    Returns
    -------
    (H, W) float tensor
        Above 0 a pixel is pulled to its annotation, below 0 it is pushed away.
    """
    # softmax(log p) is p, so any logits that give p serve
    logits = probabilities.clamp_min(SMALLEST).log()[None].requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, onehot[None]), logits)
    return -(gradient[0] * onehot).sum(dim=0)
