"""Reading a level in blocks on a fixed grid, some of which are kept.

For libraries that join overlapping pieces, or pieces at fractions of a pixel: there, a
pixel may depend on the region that is read. Of blocks that are always the same it does not.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from nucleipel.core.geometry import Box
from nucleipel.io.slides.formats.stored_image import Pixels

BLOCK_PX = 1024
BLOCKS_KEPT = 16


def by_blocks(read: Callable[[Box], Pixels], shape: tuple[int, int]) -> Callable[[Box], Pixels]:
    """A loader of any box of a level of shape (height, width), of one that reads blocks only."""

    @lru_cache(maxsize=BLOCKS_KEPT)
    def block(row: int, column: int) -> Pixels:
        y, x = row * BLOCK_PX, column * BLOCK_PX
        return read(Box(y, x, min(y + BLOCK_PX, shape[0]), min(x + BLOCK_PX, shape[1])))

    def load(box: Box) -> Pixels:
        rows = [
            np.concatenate(
                [
                    _part(block(row, column), row, column, box)
                    for column in range(box.x0 // BLOCK_PX, -(-box.x1 // BLOCK_PX))
                ],
                axis=1,
            )
            for row in range(box.y0 // BLOCK_PX, -(-box.y1 // BLOCK_PX))
        ]
        return np.concatenate(rows)

    return load


def _part(block: Pixels, row: int, column: int, box: Box) -> Pixels:
    """Return the part of a block that lies in a box."""
    y, x = row * BLOCK_PX, column * BLOCK_PX
    rows = slice(max(box.y0 - y, 0), min(box.y1 - y, BLOCK_PX))
    return block[rows, max(box.x0 - x, 0) : min(box.x1 - x, BLOCK_PX)]
