"""How wide the nuclei of a map are, before any is found.

The class boundary is a ring of known width inside each nucleus. Its share of the probability says
how wide nuclei are, also where the map does not separate them.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucleipel.instances.disagreement import HALF
from nucleipel.instances.training_targets import BACKGROUND, BOUNDARY, INTERIOR


@dataclass(frozen=True)
class Rings:
    """Sums of interior and boundary, of 255, over the pixels that are likely nuclei."""

    interior: int = 0
    boundary: int = 0

    def __add__(self, other: "Rings") -> "Rings":
        return Rings(self.interior + other.interior, self.boundary + other.boundary)

    def width(self, boundary_px: int) -> float:
        """Side of a square with the area of a nucleus, in pixels; NaN where nothing is likely.

        A ring of `boundary_px` leaves (1 - boundary_px / r) ** 2 of a disc of radius r. Large
        nuclei count by their area. What is wider than about 80 px comes out too narrow.
        """
        if not self.interior + self.boundary:
            return math.nan
        if not self.boundary:
            return math.inf
        kept = math.sqrt(self.interior / (self.interior + self.boundary))
        return math.sqrt(math.pi) * boundary_px / (1 - kept)


def rings(probabilities: npt.NDArray[np.uint8]) -> Rings:
    """Sum interior and boundary of a (C, H, W) map over its likely pixels.

    >>> disc = np.zeros((3, 1, 16), np.uint8)
    >>> disc[1, 0, :9], disc[2, 0, 9:] = 255, 255
    >>> round(rings(disc).width(boundary_px=2), 1)  # 9 of 16 px are interior, so r is 8
    14.2
    """
    likely = probabilities[BACKGROUND] <= HALF
    interior, boundary = (
        int(probabilities[part][likely].sum(dtype=np.int64)) for part in (INTERIOR, BOUNDARY)
    )
    return Rings(interior, boundary)
