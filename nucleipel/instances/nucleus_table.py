"""The table of nuclei in a working map: position, box, area, mean probability."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucleipel.instances.watershed import AREA, PROBABILITY, SUM_X, SUM_Y, X0, X1, Y0, Y1


@dataclass(frozen=True)
class NucleusTable:
    """One row a nucleus, in order of ids 1..n.

    All is in pixels of the working map; `measurements.py` measures nuclei in the
    frame of the outputs.

    Parameters
    ----------
    rows : (n, 10) int64
        The integer sums of `watershed.ROW`, in memory or mapped from a file;
        all else is computed from them.
    """

    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def centroid_px(self) -> npt.NDArray[np.float64]:
        """Mean of pixel indices, (n, 2) float64, (y, x)."""
        return self.rows[:, [SUM_Y, SUM_X]] / self.rows[:, [AREA]]

    @property
    def box_px(self) -> npt.NDArray[np.int64]:
        """Half-open boxes (n, 4) int64, (y0, x0, y1, x1)."""
        return self.rows[:, [Y0, X0, Y1, X1]]

    @property
    def area_px(self) -> npt.NDArray[np.int64]:
        """Number of pixels, (n,) int64."""
        return self.rows[:, AREA]

    @property
    def mean_probability(self) -> npt.NDArray[np.float64]:
        """Mean probability of being nucleus, (n,) float64 in [0, 1]."""
        return self.rows[:, PROBABILITY] / (255 * self.rows[:, AREA])
