"""The mean of the weights of several networks that have one ancestor.

Fine-tunings of one network mostly lie in one valley of the loss; their mean is
then often better than each, at the cost of one. Between a network and its own
fine-tuning it keeps what the fine-tuning would forget.

Wortsman et al., Model soups, ICML 2022 (arXiv:2203.05482); Robust fine-tuning of
zero-shot models, CVPR 2022 (arXiv:2109.01903).
"""

from collections.abc import Sequence

import torch
from torch import nn

RELATED = 0.5
"""Least cosine between kernels of one ancestor: with one it is over .99, without about 0."""


def average_weights(networks: Sequence[nn.Module]) -> dict[str, torch.Tensor]:
    """Average the states of networks: each tensor the mean over all, counters as in the first.

    BatchNorm's running means and variances are averaged as weights are.
    """
    states = [network.state_dict() for network in networks]
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(first.dtype)
        if first.is_floating_point()
        else first.clone()
        for name, first in states[0].items()
    }


def similarity(one: nn.Module, other: nn.Module) -> float:
    """Cosine between the kernels of two networks of one architecture, in [-1, 1]."""
    kernels = [
        torch.cat([weights.detach().double().flatten() for weights in network.parameters()
                   if weights.ndim > 1])
        for network in (one, other)
    ]  # fmt: skip
    return float(torch.cosine_similarity(kernels[0], kernels[1], 0))
