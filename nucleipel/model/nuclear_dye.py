"""A stained image as the gray of its nuclear dye, in which nuclei are bright as in fluorescence.

Stains differ from slide to slide, and dense tissue takes up some of the nuclear
dye, too; the contrast of a pixel to its surroundings in that dye differs least.
Absorbances add up (Beer, Lambert), so one weighted sum of them separates
hematoxylin from eosin; the weights are those of Ruifrok and Johnston 2001. The sum
less the mean of its surroundings is divided by their standard deviation (local
contrast normalization, Jarrett et al. 2009).

It is a layer before the network, and nothing in it is learned. Its output at a
pixel depends on a bounded window, so that tiles stay exact.
"""

from functools import reduce

import torch
from torch import nn
from torch.nn import functional

RUIFROK = (0.738, -0.026, -0.236)
"""Weights of red, green and blue absorbance: the first column of scikit-image's `hed_from_rgb`,
scaled to magnitudes that sum to 1."""
DARKEST = 0.15
"""Light (of 1) that black counts as: the ends of a normalized image are no true absorbances."""
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
CELL_PX = 8
"""Means are taken of cells of this side."""
CELLS = 13
"""Side of the surroundings, in cells: 104 px."""
FAINTEST = 0.03
"""Standard deviation of absorbance that is taken for noise."""
BRIGHTEST = 3.0
"""Standard deviations above the mean that become 1."""
REACH_PX = 61
"""Receptive radius: smoothing, a cell, half the surroundings, interpolation."""


class NuclearDyeLayer(nn.Module):
    """Normalized RGB (B, 3, H, W) to its `nuclear_dye` in all three channels."""

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return nuclear_dye(rgb).expand_as(rgb)


def nuclear_dye(rgb: torch.Tensor) -> torch.Tensor:
    """Compute the local contrast of the dye in normalized RGB (B, 3, H, W): (B, 1, H, W) in [0, 1].

    H and W are multiples of `CELL_PX`.
    """
    with torch.autocast(rgb.device.type, enabled=False):
        return _local_contrast(_dye_absorbance(rgb.float())).to(rgb.dtype)


def _dye_absorbance(rgb: torch.Tensor) -> torch.Tensor:
    """Absorbance of the nuclear dye, smoothed against noise: (B, 1, H, W)."""
    absorbance = -torch.log(DARKEST + (1 - DARKEST) * rgb)
    dye = functional.conv2d(absorbance, rgb.new_tensor(RUIFROK).view(1, 3, 1, 1))
    return _smoothed(_smoothed(dye, axis=-2), axis=-1)


def _smoothed(plane: torch.Tensor, *, axis: int) -> torch.Tensor:
    # as shifted sums: a convolution of one channel takes six times as long on the CPU
    reach, length = len(BINOMIAL) // 2, plane.shape[axis]
    sides = (reach, reach, 0, 0) if axis == -1 else (0, 0, reach, reach)
    wider = functional.pad(plane, sides, mode="replicate")
    shifted = (tap * wider.narrow(axis, at, length) for at, tap in enumerate(BINOMIAL))
    return reduce(torch.add, shifted)


def _local_contrast(dye: torch.Tensor) -> torch.Tensor:
    mean = _surroundings_mean(dye)
    variance = (_surroundings_mean(dye * dye) - mean * mean).clamp(min=0)
    return ((dye - mean) / (FAINTEST**2 + variance).sqrt() / BRIGHTEST).clamp(0, 1)


def _surroundings_mean(plane: torch.Tensor) -> torch.Tensor:
    cells = functional.avg_pool2d(plane, CELL_PX)
    mean = functional.avg_pool2d(cells, CELLS, 1, CELLS // 2, count_include_pad=False)
    return functional.interpolate(mean, scale_factor=CELL_PX, mode="bilinear")
