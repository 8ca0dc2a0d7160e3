"""Generated H&E-like slides of any size, made piece by piece: islands of tissue on glass.

Every pixel depends on the seed and its own place only, so that a slide of
billions of pixels is written without being held. Tissue is one scene, mirrored
over and over: its nuclei repeat, which neither a network nor a table minds.
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box, reflected_indices
from nucleipel.data.synthetic import build_scene

SCENE_PX = 1024
STEP_PX = 16
"""Outlines of tissue are drawn in squares of this side."""
ISLANDS = 6
"""About so many islands, with as much glass between them, fit along a side."""
GLASS_RGB = (244, 243, 245)
GLASS_PX = 256


def tissue_on_glass(
    shape: tuple[int, int], *, tissue: float, seed: int = 0
) -> Callable[[Box], npt.NDArray[np.uint8]]:
    """A function that gives the (h, w, 3) uint8 pixels of any box of a slide of (height, width).

    `tissue` is the share of the slide that is not glass, 0 to 1.
    """
    draw = np.random.default_rng([seed, *shape])
    scene = build_scene((SCENE_PX, SCENE_PX), seed=seed, glass=False).image
    grain = draw.integers(0, 3, (GLASS_PX, GLASS_PX, 3))
    glass = (np.array(GLASS_RGB) + grain).astype(np.uint8)
    islands = _islands([-(-length // STEP_PX) for length in shape], tissue, draw)

    def read(box: Box) -> npt.NDArray[np.uint8]:
        rows, columns = np.arange(box.y0, box.y1), np.arange(box.x0, box.x1)
        pixels = glass[np.ix_(rows % GLASS_PX, columns % GLASS_PX)]
        covered = islands[np.ix_(rows // STEP_PX, columns // STEP_PX)]
        if covered.any():
            places = [
                reflected_indices(start, stop, SCENE_PX)
                for start, stop in ((box.y0, box.y1), (box.x0, box.x1))
            ]
            pixels[covered] = scene[np.ix_(*places)][covered]
        return pixels

    return read


def _islands(shape: list[int], tissue: float, draw: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Where tissue lies, one value a square of `STEP_PX`: the highest parts of smooth noise."""
    coarse = draw.standard_normal((2 * ISLANDS, 2 * ISLANDS)).astype(np.float32)
    field = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return (
        np.asarray(field > np.quantile(field, 1 - tissue)) if tissue < 1 else np.ones(shape, bool)
    )
