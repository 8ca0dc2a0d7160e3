"""Families of networks and their stride in pixels; without torch, for settings."""

from typing import Literal

Family = Literal["unet", "basic_unet"]
Norm = Literal["batch", "instance"]


def network_stride(family: Family, *, levels: int, block_px: int) -> int:
    """Stride in pixels: sides of windows and origins of tiles must be multiples of it.

    A unet halves its grid once between two levels, the blocks being its first
    halving; a basic_unet halves it four times, on the grid of its blocks.

    >>> network_stride("unet", levels=5, block_px=2), network_stride("unet", levels=5, block_px=1)
    (16, 16)
    >>> network_stride("basic_unet", levels=6, block_px=2)
    32
    """
    return int(2 ** (levels - 1)) if family == "unet" else 16 * block_px
