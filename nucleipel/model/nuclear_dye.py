"""A stained image as the gray of its nuclear dye, in which nuclei look like fluorescence.

Stains differ from slide to slide, and dense tissue takes up some of the nuclear
dye, too; how far a pixel stands out from its surroundings by that dye differs
least. Absorbances add up (Beer, Lambert), so one weighted sum of them tells
haematoxylin from eosin; the weights are those of Ruifrok and Johnston 2001.
What the sum has more than the mean of its surroundings is divided by their
spread (local contrast normalization, Jarrett et al. 2009).

It is a layer before the network, and nothing in it is learned. No more than a
bounded window counts, so that tiles stay exact.
"""

from functools import reduce

import torch
from torch import nn
from torch.nn import functional

RUIFROK = (0.738, -0.026, -0.236)
"""Of red, green and blue absorbance: the first column of scikit-image's `hed_from_rgb`, scaled to
magnitudes that sum to 1."""
DARKEST = 0.15
"""Light (of 1) that black counts as: the ends of a normalized image are no true absorbances."""
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
CELL_PX = 8
"""Means are taken of cells of this side."""
CELLS = 13
"""Side of the surroundings, in cells: 104 px."""
FAINTEST = 0.03
"""Spread of absorbance that is taken for noise."""
BRIGHTEST = 3.0
"""As many spreads above the mean become 1."""
REACH_PX = 61
"""No pixel farther off counts: smoothing, a cell, half the surroundings, interpolation."""


class AsNuclearDye(nn.Module):
    """Normalized RGB (B, 3, H, W) to its `nuclear_dye`, three times: what takes RGB takes that."""

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return nuclear_dye(rgb).expand_as(rgb)


def nuclear_dye(rgb: torch.Tensor) -> torch.Tensor:
    """How the dye stands out in normalized RGB (B, 3, H, W): (B, 1, H, W) in [0, 1].

    H and W are multiples of `CELL_PX`.
    """
    with torch.autocast(rgb.device.type, enabled=False):
        return _standing_out(_absorbed(rgb.float())).to(rgb.dtype)


def _absorbed(rgb: torch.Tensor) -> torch.Tensor:
    """Of the nuclear dye, smoothed against noise: (B, 1, H, W)."""
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


def _standing_out(dye: torch.Tensor) -> torch.Tensor:
    mean = _of_surroundings(dye)
    variance = (_of_surroundings(dye * dye) - mean * mean).clamp(min=0)
    return ((dye - mean) / (FAINTEST**2 + variance).sqrt() / BRIGHTEST).clamp(0, 1)


def _of_surroundings(plane: torch.Tensor) -> torch.Tensor:
    cells = functional.avg_pool2d(plane, CELL_PX)
    mean = functional.avg_pool2d(cells, CELLS, 1, CELLS // 2, count_include_pad=False)
    return functional.interpolate(mean, scale_factor=CELL_PX, mode="bilinear")
