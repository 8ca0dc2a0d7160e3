"""The receptive radius of a network: the halo that exact tiling needs, measured and not assumed."""

import copy

import torch
from torch import nn

LIMIT_PX = 1024


def receptive_radius(network: nn.Module, *, in_channels: int, stride: int) -> int:
    """Measure the largest distance (px) from an output pixel to an input pixel that changes it.

    Measured by gradient on a float64 copy in eval mode whose weights are all
    positive, so that no path cancels another, and over all `stride` positions
    of the output pixel against the network's grid. The network's kernels are
    square, so two thin strips, one along each axis, are enough.

    Raises
    ------
    ValueError
        If the window is not bounded (InstanceNorm, global pooling, attention):
        no halo makes such a network tile-exact.
    """
    probe = _with_positive_weights(network)
    length = 256
    while length <= 2 * LIMIT_PX:
        reaches = [
            _reach(probe, in_channels, length, stride, axis, phase)
            for axis in (0, 1)
            for phase in range(stride)
        ]
        radius = max(reaches)
        # a gradient that arrives at the strip's end may have been cut off there
        if radius < length // 2 - stride:
            return radius
        length *= 2
    raise ValueError(
        f"the network sees over {LIMIT_PX} px far: its output cannot be tiled exactly;"
        " use BatchNorm and no global pooling or attention"
    )


def _with_positive_weights(network: nn.Module) -> nn.Module:
    probe = copy.deepcopy(network).cpu().double().eval()
    # a maximum of equal values passes its gradient to one of them; a mean reads the same pixels
    for module in probe.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                mean = nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
                setattr(module, name, mean)
    with torch.no_grad():
        for parameter in probe.parameters():
            parameter.fill_(1 / max(parameter[0].numel(), 1))
        for name, buffer in probe.named_buffers():
            if name.endswith("running_mean"):
                buffer.zero_()
            elif name.endswith("running_var"):
                buffer.fill_(1)
    return probe


def _reach(probe: nn.Module, channels: int, length: int, stride: int, axis: int, phase: int) -> int:
    shape = (length, stride) if axis == 0 else (stride, length)
    image = torch.ones(1, channels, *shape, dtype=torch.float64, requires_grad=True)
    center = length // 2 + phase
    output = probe(image).sum(dim=1)[0].movedim(axis, 0)
    (gradient,) = torch.autograd.grad(output[center].sum(), image)
    touched = gradient[0].abs().sum(dim=0).movedim(axis, 0).sum(dim=1).nonzero()
    return int((touched - center).abs().max())
