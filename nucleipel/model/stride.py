"""What networks there are, and the grid of pixels they work on; without torch, for settings."""

from typing import Literal

Family = Literal["unet", "basic_unet", "dyn_unet"]
Norm = Literal["batch", "instance"]


def network_stride(family: Family, *, levels: int, block_px: int) -> int:
    """Sides of windows and origins of tiles must be multiples of this many pixels.

    A unet halves its grid once between two levels, the blocks being its first
    halving; a dyn_unet does so on the grid of its blocks, and a basic_unet four times.

    >>> network_stride("unet", levels=5, block_px=2), network_stride("unet", levels=5, block_px=1)
    (16, 16)
    >>> network_stride("basic_unet", levels=6, block_px=2)
    32
    >>> network_stride("dyn_unet", levels=4, block_px=2)
    16
    """
    halvings = 4 if family == "basic_unet" else levels - 1
    return int(2**halvings * (1 if family == "unet" else block_px))
