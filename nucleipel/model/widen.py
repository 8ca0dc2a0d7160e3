"""A wider network that knows what a narrower one knows, to train on.

New channels read all others, with random weights, and are read by new ones only:
the outputs are at first those of the narrower network, and the gradient of what
reads the new channels is there from the first step. After Net2Net (Chen, Goodfellow
and Shlens, ICLR 2016, arXiv:1511.05641), which copies channels and needs noise to
part the copies.
"""

import dataclasses
from itertools import pairwise

import torch
from torch import nn

from nucleipel.model.network import NetworkSpec, build_network


def widened_spec(spec: NetworkSpec, features: tuple[int, ...]) -> NetworkSpec:
    """The spec of the same network with `features` channels a level.

    Raises
    ------
    ValueError
        If the network is no `unet`, a level would have fewer channels than before, or
        two levels would become equally wide, or cease to be, which changes their shortcut.
    """
    if spec.family != "unet":
        raise ValueError(f"it is a {spec.family}; expected a unet")
    if len(features) != len(spec.features) or any(
        after < before for before, after in zip(spec.features, features, strict=True)
    ):
        raise ValueError(
            f"its levels have {list(spec.features)} channels; {list(features)} has no room for them"
        )
    entry = spec.in_channels * spec.block_px**2
    for (below, above), (wider_below, wider_above) in zip(
        pairwise((entry, *spec.features)), pairwise((entry, *features)), strict=True
    ):
        if (below == above) != (wider_below == wider_above):
            raise ValueError(
                f"its levels have {list(spec.features)} channels; in {list(features)} others are"
                " as wide as the level before, which changes their shortcuts"
            )
    return dataclasses.replace(spec, features=features)


def widened(network: nn.Module, spec: NetworkSpec, wider: NetworkSpec) -> nn.Module:
    """A network of the spec `wider`, whose outputs are those of `network`, of `spec`.

    What is new is the same each time, so that a network can be averaged with what
    was trained on from it, wider.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        result = build_network(wider)
    transposed = {
        f"{name}.weight"
        for name, module in result.named_modules()
        if isinstance(module, nn.ConvTranspose2d)
    }
    narrow, wide = network.state_dict(), result.state_dict()
    for name, weights in narrow.items():
        if weights.ndim < 2:  # a value a channel, or one for all
            wide[name][tuple(slice(size) for size in weights.shape)] = weights
        elif name in transposed:
            level = name.count("submodule")
            own = spec.features[level], wider.features[level]
            _widen(wide[name].transpose(0, 1), weights.transpose(0, 1), own)
        else:
            _widen(wide[name], weights, (weights.shape[1], wide[name].shape[1]))
    return result.train(network.training)


def _widen(wide: torch.Tensor, narrow: torch.Tensor, own: tuple[int, int]) -> None:
    """Put a kernel (out, in, h, w) into a wider one, so that its outputs read the same inputs.

    On the way up a level's own channels come first, then those from below: `own`
    is how many there are of the former in each.
    """
    outputs, inputs = narrow.shape[:2]
    before, after = own
    wide[:outputs] = 0
    wide[:outputs, :before] = narrow[:, :before]
    wide[:outputs, after : after + inputs - before] = narrow[:, before:]
