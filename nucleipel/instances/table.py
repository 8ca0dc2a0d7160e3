"""Measuring, dropping and numbering nuclei in one scan of the map."""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class NucleusTable:
    """One row a nucleus, in order of ids 1..n; arrays of length n.

    `centroid_px` (n, 2) float64 (y, x), the mean of pixel indices; `box_px`
    (n, 4) int64 (y0, x0, y1, x1), half-open; `area_px` (n,) int64;
    `mean_probability` (n,) float64, of being nucleus, in [0, 1].
    """

    centroid_px: npt.NDArray[np.float64]
    box_px: npt.NDArray[np.int64]
    area_px: npt.NDArray[np.int64]
    mean_probability: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.area_px)

    def columns(self, *, mpp: float | None) -> dict[str, npt.NDArray[np.generic]]:
        """Columns by name, in order; lengths in um and areas in um2 are NaN without an mpp."""
        um = float("nan") if mpp is None else mpp
        return {
            "id": np.arange(1, len(self) + 1),
            "centroid_y_px": self.centroid_px[:, 0],
            "centroid_x_px": self.centroid_px[:, 1],
            "y0_px": self.box_px[:, 0],
            "x0_px": self.box_px[:, 1],
            "y1_px": self.box_px[:, 2],
            "x1_px": self.box_px[:, 3],
            "area_px": self.area_px,
            "centroid_y_um": self.centroid_px[:, 0] * um,
            "centroid_x_um": self.centroid_px[:, 1] * um,
            "area_um2": self.area_px * um**2,
            "mean_probability": self.mean_probability,
        }


def measure_and_number(
    labels: npt.NDArray[np.int32], nucleus: npt.NDArray[np.uint8], *, min_area_px: int
) -> tuple[npt.NDArray[np.uint32], NucleusTable]:
    """Number the labels of an (H, W) map 1..n in raster order of first pixels.

    Labels of fewer than `min_area_px` pixels are dropped. `nucleus` is the
    (H, W) uint8 probability of not being background.
    """
    sums = _scan(labels, nucleus, int(labels.max(initial=0)) + 1)
    kept = np.flatnonzero((sums[:, _AREA] >= max(min_area_px, 1)) & (np.arange(len(sums)) > 0))
    kept = kept[np.argsort(sums[kept, _FIRST])]
    ids = np.zeros(len(sums), np.uint32)
    ids[kept] = np.arange(1, len(kept) + 1)
    rows = sums[kept]
    area = rows[:, _AREA]
    table = NucleusTable(
        centroid_px=rows[:, [_SUM_Y, _SUM_X]] / area[:, None],
        box_px=rows[:, [_Y0, _X0, _Y1, _X1]],
        area_px=area,
        mean_probability=rows[:, _PROBABILITY] / (255 * area),
    )
    return ids[labels], table


_AREA, _FIRST, _SUM_Y, _SUM_X, _Y0, _X0, _Y1, _X1, _PROBABILITY = range(9)


@numba.njit(cache=True)
def _scan(labels, nucleus, count):  # type: ignore[no-untyped-def]
    rows, columns = labels.shape
    sums = np.zeros((count, 9), np.int64)
    for y in range(rows):
        for x in range(columns):
            label = labels[y, x]
            if label == 0:
                continue
            entry = sums[label]
            if entry[_AREA] == 0:
                entry[_FIRST] = np.int64(y) * columns + x
                entry[_Y0], entry[_X0] = y, x
            entry[_AREA] += 1
            entry[_SUM_Y] += y
            entry[_SUM_X] += x
            entry[_Y1] = y + 1
            entry[_X0] = min(entry[_X0], x)
            entry[_X1] = max(entry[_X1], x + 1)
            entry[_PROBABILITY] += nucleus[y, x]
    return sums
