"""Rectangles on an image: boxes, tiles, and the two ways of covering an image with them.

Everything is in integer pixels of the working resolution, axes (y, x), boxes
half-open. There are two covers because stages need different ones:

- `core_tiles`: what **predict** needs. Cores partition the image exactly; each
  is read with a halo around it, and the grid is anchored at (0, 0), so a tile
  is the same whatever else is predicted.
- `overlapping_tiles`: what **tile** and validation need. Squares of one size
  that together hold every pixel, the last one moved inwards so that it stays
  on the image.

A box may overhang the image; `reflected_indices` says which pixels are then
read (the image is mirrored at its edges, the edge pixel not repeated).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open rectangle `[y0, y1) x [x0, x1)` in pixels; it may overhang the image."""

    y0: int
    x0: int
    y1: int
    x1: int

    @classmethod
    def of_shape(cls, shape: tuple[int, int]) -> "Box":
        """The box of a whole image of shape (height, width)."""
        return cls(0, 0, shape[0], shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of an array whose origin is this box's frame."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def grow(self, margin_px: int) -> "Box":
        """The box with `margin_px` more on each side."""
        return Box(
            self.y0 - margin_px, self.x0 - margin_px, self.y1 + margin_px, self.x1 + margin_px
        )

    def shift(self, dy: int, dx: int) -> "Box":
        """The box moved by (dy, dx)."""
        return Box(self.y0 + dy, self.x0 + dx, self.y1 + dy, self.x1 + dx)

    def clip(self, shape: tuple[int, int]) -> "Box":
        """The part of the box that lies on an image of shape (height, width)."""
        return self.within(Box.of_shape(shape))

    def within(self, other: "Box") -> "Box":
        """The part of the box that lies in another one, which it touches."""
        return Box(
            max(self.y0, other.y0), max(self.x0, other.x0),
            min(self.y1, other.y1), min(self.x1, other.x1),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tile:
    """A core, which this tile alone owns, and the window read around it."""

    core: Box
    window: Box


def mirrored_frame(shape: tuple[int, int], *, edge_px: int, multiple_px: int) -> Box:
    """An image of shape (height, width) and what is read of its mirror image beyond the edges.

    At least `edge_px` on each side, to the right and below up to a multiple of `multiple_px`.

    >>> mirrored_frame((20, 32), edge_px=16, multiple_px=8)
    Box(y0=-16, x0=-16, y1=40, x1=48)
    """
    height, width = (-(-(length + edge_px) // multiple_px) * multiple_px for length in shape)
    return Box(-edge_px, -edge_px, height, width)


def core_tiles(
    shape: tuple[int, int],
    *,
    core_px: int,
    halo_px: int,
    frame: Box | None = None,
    within: Box | None = None,
) -> Iterator[Tile]:
    """Tiles whose cores partition an image of shape (height, width), in raster order.

    A window has the side `core_px + 2 * halo_px`, also at the edges, where it overhangs
    the image and the core is clipped; but it ends where the `frame` does, if there is one.
    `within` restricts the tiles to those whose core starts inside that box; it never
    moves the grid.
    """
    area = (within or Box.of_shape(shape)).clip(shape)
    for y in range(-(-area.y0 // core_px) * core_px, area.y1, core_px):
        for x in range(-(-area.x0 // core_px) * core_px, area.x1, core_px):
            full = Box(y, x, y + core_px, x + core_px)
            window = full.grow(halo_px)
            yield Tile(full.clip(shape), window if frame is None else window.within(frame))


def overlapping_tiles(
    shape: tuple[int, int], *, side_px: int, overlap_px: int, within: Box | None = None
) -> list[Box]:
    """Squares of `side_px` that share at least `overlap_px` and cover the whole image.

    In raster order. The last square of each row and column is moved inwards to
    stay on the image; only an image smaller than `side_px` is overhung. Squares
    cover `within`, a part of the image, alone; around a part smaller than
    `side_px` they are centered, as far as the image reaches.
    """
    part = within or Box.of_shape(shape)
    rows, columns = (
        _starts(start, stop, length, side_px=side_px, stride_px=side_px - overlap_px)
        for start, stop, length in zip((part.y0, part.x0), (part.y1, part.x1), shape, strict=True)
    )
    return [Box(y, x, y + side_px, x + side_px) for y in rows for x in columns]


def _starts(start: int, stop: int, length: int, *, side_px: int, stride_px: int) -> list[int]:
    if stop - start <= side_px:
        return [max(min((start + stop - side_px) // 2, length - side_px), 0)]
    last = stop - side_px
    return [*range(start, last, stride_px), last]


def reflected_indices(start: int, stop: int, length: int) -> npt.NDArray[np.int64]:
    """Pixel indices in `[0, length)` for positions `start..stop-1`, mirrored at both edges.

    >>> reflected_indices(-2, 6, 4).tolist()
    [2, 1, 0, 1, 2, 3, 2, 1]
    """
    positions = np.arange(start, stop)
    if length == 1:
        return np.zeros_like(positions)
    period = 2 * (length - 1)
    folded = np.mod(positions, period)
    return np.where(folded < length, folded, period - folded)
