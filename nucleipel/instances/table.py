"""What is known of each nucleus: position, box, area, mean probability."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucleipel.instances.component import AREA, PROBABILITY, SUM_X, SUM_Y, X0, X1, Y0, Y1


@dataclass(frozen=True)
class NucleusTable:
    """One row a nucleus, in order of ids 1..n.

    `rows` (n, 10) int64 are the integer sums of `component.ROW`, in memory or
    mapped from a file; everything else is computed from them when asked for. A
    slice is a table of some nuclei.
    """

    rows: npt.NDArray[np.int64]
    first_id: int = 1

    def __len__(self) -> int:
        return len(self.rows)

    def parts(self, rows: int) -> Iterator["NucleusTable"]:
        """Tables of `rows` nuclei each, and one at least, so that what is mapped stays on disk."""
        for start in range(0, max(len(self), 1), rows):
            yield self[start : start + rows]

    def __getitem__(self, part: slice) -> "NucleusTable":
        start = part.indices(len(self))[0]
        return NucleusTable(self.rows[part], self.first_id + start)

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

    def columns(self, *, mpp: float | None) -> dict[str, npt.NDArray[np.generic]]:
        """Columns by name, in order; lengths in um and areas in um2 are NaN without an mpp."""
        um = float("nan") if mpp is None else mpp
        centroid, box = self.centroid_px, self.box_px
        return {
            "id": np.arange(self.first_id, self.first_id + len(self)),
            "centroid_y_px": centroid[:, 0],
            "centroid_x_px": centroid[:, 1],
            "y0_px": box[:, 0],
            "x0_px": box[:, 1],
            "y1_px": box[:, 2],
            "x1_px": box[:, 3],
            "area_px": self.area_px,
            "centroid_y_um": centroid[:, 0] * um,
            "centroid_x_um": centroid[:, 1] * um,
            "area_um2": self.area_px * um**2,
            "mean_probability": self.mean_probability,
        }
