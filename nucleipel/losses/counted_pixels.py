"""The pixels that a loss counts: those whose annotation holds a class.

Where a region of an image was annotated and not all of it, the one-hot annotation
is 0 in every class outside of the region. Such a pixel is left out of every sum
and mean. A patch's mean is that over its own pixels that count, so a patch with
few of them weighs as much as any other: it is for the sampler to show it less often.
"""

from collections.abc import Callable

import torch


def counted_pixels(onehot: torch.Tensor) -> torch.Tensor | None:
    """(B, 1, ...) bool, whether a pixel of a (B, C, ...) annotation counts; None if all do."""
    counted = onehot.sum(dim=1, keepdim=True) > 0
    return None if bool(counted.all()) else counted


def mean_of_counted(values: torch.Tensor, counted: torch.Tensor | None) -> torch.Tensor:
    """Mean over patches of the mean over the pixels that count, of (B, 1, ...) or (B, ...) values.

    A patch in which nothing counts adds 0. Patches have one size, so where all
    counts this is the mean over all pixels.
    """
    if counted is None:
        return values.mean()
    kept = counted.flatten(1).to(values.dtype)
    return ((values.flatten(1) * kept).sum(dim=1) / kept.sum(dim=1).clamp_min(1)).mean()


def mean_of_pixels(
    loss: Callable[..., torch.Tensor],
    outputs: torch.Tensor,
    targets: torch.Tensor,
    counted: torch.Tensor | None,
) -> torch.Tensor:
    """Mean of one of PyTorch's losses over the pixels that count; its own mean where all count."""
    if counted is None:
        return loss(outputs, targets)
    return mean_of_counted(loss(outputs, targets, reduction="none"), counted)
