"""Tissue on a slide, found on a low level of it."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.ground import Ground, find_ground_and_tissue, noise_of_pixels
from nucleipel.core.tissue import Tissue

if TYPE_CHECKING:
    from nucleipel.io.slides.slide import Slide

CELL_UM, CELL_PX = 8.0, 16
"""Side of a cell of the mask, and what stands for it where the mpp is not known."""
LARGEST_MASK_PX = 4096
ROWS_AT_A_TIME = 256
NOISE_REGIONS, NOISE_PX = 8, 64
"""So many squares of that side, along each axis, show the noise of pixels."""


def find_tissue(slide: "Slide", *, step_px: int) -> tuple[Ground, Tissue]:
    """The ground of a slide and its tissue, in cells of `step_px` working pixels."""
    ground, mask = find_ground_and_tissue(
        _read_cells(slide, step_px),
        is_color=slide.is_color,
        pixel_noise=noise_of_pixels(_noise_regions(slide)),
    )
    kind = "bright" if ground.bright else "dark"
    level = " ".join(f"{value:g}" for value in ground.level)
    return ground, Tissue(mask, step_px, {"mask": "auto", "ground": kind, "ground_level": level})


def cell_px(slide: "Slide") -> int:
    """Side of a cell in working pixels."""
    side = max(1, round(CELL_UM / slide.mpp)) if slide.mpp else CELL_PX
    return max(side, -(-max(slide.shape) // LARGEST_MASK_PX))


def _read_cells(slide: "Slide", step_px: int) -> npt.NDArray[np.generic]:
    """The slide in pixels of one cell each (h, w, C), from the level of the pyramid that suits."""
    coarse = slide.coarse(step_px)
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
    return np.stack([slide.read(box) for box in boxes])
