"""Tissue on a slide, found on a low level of it."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from nucleipel.core.dirt import find_colorless, find_hot
from nucleipel.core.geometry import Box
from nucleipel.core.glass_cores import Tissue
from nucleipel.core.tissue_detection import CellKinds, Ground, find_kinds, noise_of_pixels

if TYPE_CHECKING:
    from nucleipel.io.slides.slide import Slide

Weights = npt.NDArray[np.uint8]

CELL_UM, CELL_PX = 8.0, 16
"""Side of a cell of the mask, and what stands for it where the mpp is not known."""
HUE = 0.05
CELL_FROM_PX = 2
"""A cell is a mean of so many stored pixels each way: JPEG wipes out a nucleus of one pixel."""
LARGEST_MASK_PX = 4096
AROUND_PX = 128
ROWS_AT_A_TIME = 256
NOISE_REGIONS, NOISE_PX = 8, 64
"""Squares of that side along each axis that show the noise of pixels."""


@dataclass(frozen=True)
class FoundTissue:
    """The ground of a slide, and where tissue lies on it.

    `tissue` is what is predicted. `weights` (h, w) uint8 says how much the
    pixels of each of its cells count for intensities: 0 for ink, else the share
    of tissue within about `AROUND_PX` of the cell, of 255, so that hairs and
    dust count next to nothing beside tissue. `empty` (h, w) is ground. `colored` is the
    share of cells of tissue in which red, green and blue differ by more than `HUE` of white.
    """

    ground: Ground
    tissue: Tissue
    weights: Weights
    empty: npt.NDArray[np.bool_]
    colored: float


def find_tissue(slide: "Slide", *, step_px: int) -> FoundTissue:
    """The ground of a slide and its tissue, in cells of `step_px` working pixels."""
    cells = _read_cells(slide, step_px)
    kinds = find_kinds(
        cells,
        is_color=slide.is_color,
        pixel_noise=noise_of_pixels(_noise_regions(slide)),
    )
    tissue = kinds.tissue & ~_dirt(slide, cells, kinds, step_px)
    hue = np.ptp(cells[tissue].astype(np.float32), axis=-1) / max(*kinds.ground.level, 1.0)
    kind = "bright" if kinds.ground.bright else "dark"
    level = " ".join(f"{value:g}" for value in kinds.ground.level)
    described: dict[str, str | int] = {"mask": "auto", "ground": kind, "ground_level": level}
    return FoundTissue(
        kinds.ground,
        Tissue(tissue, step_px, described),
        weights=_weights(tissue & ~kinds.ink, step_px),
        empty=~(kinds.tissue | kinds.ink | kinds.void),
        colored=float(np.mean(hue > HUE)) if hue.size else 0.0,
    )


def _dirt(
    slide: "Slide", cells: npt.NDArray[np.generic], kinds: CellKinds, step_px: int
) -> npt.NDArray[np.bool_]:
    """The cells of tissue that are dirt, as working pixels show."""

    def read_cell(row: int, column: int) -> npt.NDArray[np.generic]:
        return slide.read(
            Box.of_shape((step_px, step_px))
            .shift(row * step_px, column * step_px)
            .grow(step_px)
            .clip(slide.shape)
        )

    if not kinds.ground.bright:
        return find_hot(kinds.tissue, read_cell)
    if not slide.is_color:
        return np.zeros_like(kinds.tissue)
    return find_colorless(kinds.tissue & ~kinds.ink, cells, kinds.ground.level, read_cell)


def _weights(typical: npt.NDArray[np.bool_], step_px: int) -> Weights:
    """See `FoundTissue`."""
    side = 2 * max(1, AROUND_PX // step_px) + 1
    share = cv2.boxFilter(typical.astype(np.float32), -1, (side, side))
    return np.where(typical, np.maximum(np.rint(255 * share), 1), 0).astype(np.uint8)


def cell_px(slide: "Slide") -> int:
    """Side of a cell in working pixels."""
    side = max(1, round(CELL_UM / slide.mpp)) if slide.mpp else CELL_PX
    return max(side, -(-max(slide.shape) // LARGEST_MASK_PX))


def _read_cells(slide: "Slide", step_px: int) -> npt.NDArray[np.generic]:
    """The slide in pixels of one cell each (h, w, C), from the level of the pyramid that suits."""
    coarse = slide.coarse(step_px, from_px=CELL_FROM_PX)
    bands = [
        coarse.read(Box(y, 0, y + ROWS_AT_A_TIME, coarse.shape[1]).clip(coarse.shape))
        for y in range(0, coarse.shape[0], ROWS_AT_A_TIME)
    ]
    return np.concatenate(bands)


def _noise_regions(slide: "Slide") -> npt.NDArray[np.generic]:
    """Squares (n, h, w, C) of working pixels on a regular grid."""
    height, width = (min(NOISE_PX, length) for length in slide.shape)
    rows, columns = (
        np.unique(np.linspace(0, length - side, NOISE_REGIONS).astype(int)).tolist()
        for length, side in zip(slide.shape, (height, width), strict=True)
    )
    boxes = [Box(y, x, y + height, x + width) for y in rows for x in columns]
    if math.prod(slide.shape) <= len(boxes) * height * width:  # small: its tiles are read once
        whole = slide.read(Box.of_shape(slide.shape))
        return np.stack([whole[box.slices] for box in boxes])
    return np.stack([slide.read(box) for box in boxes])
