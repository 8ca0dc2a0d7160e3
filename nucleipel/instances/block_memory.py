"""Memory that segmentation needs, and the largest blocks that fit into an amount of memory."""

BLOCK_SIDES_PX = (256, 512, 1024, 2048, 4096)
BASE_BYTES = 400 * 2**20
"""Python and the libraries: 192 to 300 MB were measured; `segment` has PyTorch in addition."""
BYTES_PER_PIXEL = 56
"""Bytes for a pixel of a block and a worker: 23 to 42 were measured with blocks of 2048 and 4096
px. With smaller ones the base outweighs the blocks; very large components take more."""


def needed_bytes(block_px: int, workers: int) -> int:
    """Most bytes that `segment_instances` takes between stores, for some workers and block side."""
    return BASE_BYTES + workers * BYTES_PER_PIXEL * block_px**2


def block_px_within(ram_bytes: float, workers: int) -> int:
    """Find the largest block side (px) that fits; nothing else depends on the memory.

    Raises
    ------
    ValueError
        If not even the smallest one fits.
    """
    fitting = [side for side in BLOCK_SIDES_PX if needed_bytes(side, workers) <= ram_bytes]
    if not fitting:
        least = needed_bytes(BLOCK_SIDES_PX[0], workers)
        raise ValueError(
            f"{ram_bytes / 2**30:.2g} GB of memory; {workers} threads need at least"
            f" {least / 2**30:.2g} GB"
        )
    return fitting[-1]
