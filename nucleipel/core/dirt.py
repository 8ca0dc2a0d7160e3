"""What on a slide only looks like tissue from afar: dust, hairs, edges of coverslips, hot pixels.

Cells of a coarse picture are too coarse to say it, and a level of the pyramid
that is JPEG loses the color of a single nucleus. So pieces of doubtful cells are
read in working pixels, at most `MOST_CELLS` of them; where that is not enough,
they stay tissue.

- **On bright ground**, in color: a piece without any color in its pixels is no
  stain but dust or an edge of glass; and one that is long, thin and of one color
  throughout is a hair. A slide with wide pieces of gray is stained in gray, and
  keeps all of them. What is near other tissue is kept, too.
- **On dark ground** small pieces are hot pixels if a median of 3 x 3 pixels
  takes away their light.
"""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nucleipel.core.evenly_spaced import thin

GRAY = 0.25
"""Densities of gray differ between red, green and blue by less than that share of their mean.
Measured were 0.1 and less for dust, 0.5 and more for nuclei in hematoxylin or DAB."""
PALE = 0.05
"""Optical density from which on a pixel shows the color of a piece."""
COLORED_PX = 20
"""Pixels of color that a nucleus has, and dust that JPEG gave edges of color has not."""
ONE_COLOR = 0.2
"""Directions of the densities of one color's pixels differ by less, in all but 5 % of them."""
LONG_CELLS, THIN_CELLS = 30, 4
"""A hair is so long, and has at most so many cells per cell of its length."""
WIDE_CELLS = 9
"""A gray piece that holds a square of so many cells is stained."""
NEAR_CELLS = 12
HOT_CELLS = 4
"""A hot pixel lights up at most so many cells."""
MOST_CELLS = 4096
CELLS_OF_A_PIECE = 32
FIRST_PIECES = 64
GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, without their whole part, fill 0 to 1 evenly."""
SQUARE = np.ones((3, 3), np.uint8)

Place = tuple[int, int]
Pieces = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
ReadCell = Callable[[int, int], npt.NDArray[np.generic]]
"""Gives the working pixels (h, w, C) of a cell (row, column) and of the cells around it."""


def find_colorless(
    tissue: Mask, cells: npt.NDArray[np.generic], white: tuple[float, ...], read_cell: ReadCell
) -> Mask:
    """The cells (h, w) of tissue on bright ground that are dust, hair or an edge of glass.

    `cells` (h, w, 3) is the coarse picture, `white` (3,) the ground's level.
    """
    count, pieces = cv2.connectedComponents(tissue.astype(np.uint8), connectivity=8)
    colored = np.zeros(count, bool)
    colored[pieces[tissue & (_color(_densities(cells, white), tissue) > GRAY)]] = True
    hairy = _are_long_and_thin(tissue, pieces, count)
    sure = colored & ~hairy
    sure[0] = False
    near = np.zeros(count, bool)
    square = np.ones((2 * NEAR_CELLS + 1, 2 * NEAR_CELLS + 1), np.uint8)
    near[pieces[cv2.dilate(sure[pieces].astype(np.uint8), square) > 0]] = True
    doubtful = ~(sure | near)
    doubtful[0] = False
    wide = cv2.erode((doubtful & ~hairy)[pieces].astype(np.uint8), np.ones((WIDE_CELLS,) * 2))
    if wide.any():
        return np.zeros_like(tissue)

    def is_dirt(piece: int, places: Sequence[Place]) -> bool:
        pixels = np.concatenate([_dark_pixels(read_cell(*place), white) for place in places])
        colors = np.ptp(pixels, axis=1) > GRAY * pixels.mean(axis=1)
        is_gray = np.count_nonzero(colors) < COLORED_PX
        return bool(is_gray or (hairy[piece] and _has_one_color(pixels)))

    return np.asarray(_choose(pieces, doubtful, is_dirt)[pieces])


def find_hot(tissue: Mask, read_cell: ReadCell) -> Mask:
    """The cells (h, w) of tissue on dark ground in which nothing but hot pixels shines."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(tissue.astype(np.uint8), connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] <= HOT_CELLS
    small[0] = False

    def is_dirt(piece: int, places: Sequence[Place]) -> bool:
        return all(_is_hot(read_cell(*place)) for place in places)

    return np.asarray(_choose(pieces, small, is_dirt)[pieces])


def _choose(pieces: Pieces, chosen: Mask, is_dirt: Callable[[int, Sequence[Place]], bool]) -> Mask:
    """Choose the pieces (n,) that are dirt, among `chosen`, as far as they are read.

    Pieces come in an order that has them from everywhere; where the first
    `FIRST_PIECES` are clean, all are.
    """
    rows, columns = np.nonzero(chosen[pieces])
    owners = pieces[rows, columns]
    order = np.argsort(owners, kind="stable")
    names, starts = np.unique(owners[order], return_index=True)
    own = np.split(order, starts)[1:]
    dirt = np.zeros(len(chosen), bool)
    left = MOST_CELLS
    for number, index in enumerate(np.argsort(np.arange(len(names)) * GOLDEN % 1).tolist()):
        cells = [(int(rows[i]), int(columns[i])) for i in own[index].tolist()]
        some = thin(cells, CELLS_OF_A_PIECE)
        left -= len(some)
        if left < 0 or (number >= FIRST_PIECES and not dirt.any()):
            break
        dirt[names[index]] = is_dirt(int(names[index]), some)
    return dirt


def _densities(
    pixels: npt.NDArray[np.generic], white: tuple[float, ...]
) -> npt.NDArray[np.float32]:
    light = np.maximum(pixels.astype(np.float32), 1)
    return np.maximum(np.log10(np.maximum(np.asarray(white, np.float32), 1) / light), 0)


def _color(densities: npt.NDArray[np.float32], tissue: Mask) -> npt.NDArray[np.float32]:
    """How much densities differ between channels, as a share of their mean, in 3 x 3 cells."""
    around = cv2.boxFilter(densities * tissue[..., None], -1, (3, 3))
    return np.asarray(np.ptp(around, axis=-1) / np.maximum(around.mean(axis=-1), 1e-6), np.float32)


def _are_long_and_thin(tissue: Mask, pieces: Pieces, count: int) -> Mask:
    boxes = cv2.connectedComponentsWithStats(tissue.astype(np.uint8), connectivity=8)[2]
    length = boxes[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1)
    long = (length >= LONG_CELLS) & (boxes[:, cv2.CC_STAT_AREA] <= THIN_CELLS * length)
    thick = np.zeros(count, bool)
    thick[pieces[cv2.erode(tissue.astype(np.uint8), np.ones((THIN_CELLS + 1,) * 2)) > 0]] = True
    return np.asarray(long & ~thick)


def _dark_pixels(
    pixels: npt.NDArray[np.generic], white: tuple[float, ...]
) -> npt.NDArray[np.float32]:
    """Densities (n, 3) of the pixels that show a color."""
    densities = _densities(pixels, white).reshape(-1, 3)
    return densities[densities.mean(axis=1) > PALE]


def _has_one_color(densities: npt.NDArray[np.float32]) -> bool:
    """Whether the densities (n, 3) of a piece have one direction."""
    directions = densities / np.linalg.norm(densities, axis=1, keepdims=True)
    off = np.linalg.norm(directions - np.median(directions, axis=0), axis=1)
    weights = densities.mean(axis=1)
    return bool(weights[off > ONE_COLOR].sum() <= 0.05 * weights.sum())


def _is_hot(pixels: npt.NDArray[Any]) -> bool:
    """Whether light above the ground (h, w, C) goes with a median of 3 x 3, all but noise."""
    planes = [np.ascontiguousarray(plane) for plane in np.moveaxis(pixels, -1, 0)]
    smooth = np.stack([cv2.medianBlur(plane, 3) for plane in planes], axis=-1)
    off = pixels - np.median(pixels, axis=(0, 1)).astype(np.float64)
    noise = max(1.4826 * float(np.median(np.abs(off))), 0.3)
    off -= np.mean(off, axis=(0, 1), where=np.abs(off) < 3 * noise)
    after = float((off + smooth - pixels.astype(np.float64)).sum())
    return after <= min(0.5 * float(off.sum()), 3 * noise * pixels.size**0.5)
