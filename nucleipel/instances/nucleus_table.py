"""What is known of each nucleus once it is found: position, box, area, mean probability."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucleipel.instances.watershed import AREA, PROBABILITY, SUM_X, SUM_Y, X0, X1, Y0, Y1


@dataclass(frozen=True)
class NucleusTable:
    """One row a nucleus, in order of ids 1..n.

    `rows` (n, 10) int64 are the integer sums of `component.ROW`, in memory or
    mapped from a file; everything else is computed from them when asked for. All
    is in pixels of the map that nuclei are found in; `measures.py` measures them
    in the frame that they are written in.
    """

    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def centroid_px(self) -> npt.NDArray[np.float64]:
        """(n, 2) mean of pixel indices (y, x)."""
        return self.rows[:, [SUM_Y, SUM_X]] / self.rows[:, [AREA]]

    @property
    def box_px(self) -> npt.NDArray[np.int64]:
        """(n, 4) half-open boxes (y0, x0, y1, x1)."""
        return self.rows[:, [Y0, X0, Y1, X1]]

    @property
    def area_px(self) -> npt.NDArray[np.int64]:
        """(n,) pixels."""
        return self.rows[:, AREA]

    @property
    def mean_probability(self) -> npt.NDArray[np.float64]:
        """(n,) of being nucleus, in [0, 1]."""
        return self.rows[:, PROBABILITY] / (255 * self.rows[:, AREA])
