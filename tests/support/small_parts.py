"""Slides that are shared out although they are small: large ones take long to read and to write.

Workers import this before they register, so it imports little.
"""

from collections.abc import Callable

PART_PX, BLOCK_PX = 1024**2, 256


def share_small_slides(change: Callable[[object, str, object], None] = setattr) -> None:
    """Lower the sizes from which this process shares slides out."""
    from nucleipel.io.stores import stored_map
    from nucleipel.stages.pipeline import stitch

    change(stored_map, "PART_PX", PART_PX)
    change(stitch, "SHARED_FROM_PX", 2 * PART_PX)
    change(stitch, "BLOCK_PX", BLOCK_PX)
