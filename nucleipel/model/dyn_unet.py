"""The U-Net of nnU-Net (Isensee et al., Nature Methods 2021), from MONAI's blocks.

Two convolutions a level on both ways, where MONAI's UNet has two on the way down
and, with a kernel that reads all channels twice over, two narrow ones on the way up.
MONAI's own DynUNet is the same network; it holds its blocks under two names each,
so that its weights would be stored twice.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.blocks import UnetBasicBlock, UnetOutBlock, UnetResBlock, UnetUpBlock
from torch import nn


class DynUNet(nn.Module):
    """(B, in_channels, H, W) to (B, out_channels, H, W), where 2 ** (levels - 1) divides H and W.

    Parameters
    ----------
    features
        Channels a level; the grid is halved between two levels.
    residual
        Whether the blocks of the way down add their input to their output.
    norm
        MONAI's name of the normalization.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        features: Sequence[int],
        residual: bool,
        norm: str,
    ) -> None:
        super().__init__()
        block = UnetResBlock if residual else UnetBasicBlock
        before = (in_channels, *features)
        self.down = nn.ModuleList(
            block(2, before[level], width, kernel_size=3, stride=min(level, 1) + 1, norm_name=norm)
            for level, width in enumerate(features)
        )
        self.up = nn.ModuleList(
            UnetUpBlock(
                2, below, width, kernel_size=3, stride=1, upsample_kernel_size=2, norm_name=norm
            )
            for width, below in pairwise(features)
        )
        self.out = UnetOutBlock(2, features[0], out_channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, a=0.01)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Down level by level, and up again beside what was seen on the way."""
        seen = []
        for block in self.down:
            image = block(image)
            seen.append(image)
        for block, beside in zip(reversed(self.up), reversed(seen[:-1]), strict=True):
            image = block(image, beside)
        return self.out(image)
