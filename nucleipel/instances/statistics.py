"""Statistics of all nuclei of an image, in one pass over their table and in little memory."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.measured_nuclei import MeasuredNuclei, Outline

LARGEST_AREA_PX = 2**16 - 1
"""Larger nuclei are counted at this area."""
PROBABILITY_STEPS = 100
CELL_PX = 512


@dataclass(frozen=True, slots=True)
class Nucleus:
    """One row of the table: `id`, `box`, `area_px`, `probability` (its mean), `outline`."""

    id: int
    box: Box
    area_px: int
    probability: float
    outline: Outline


class ImageStatistics:
    """Statistics of the nuclei of one image of shape (height, width), in its pixels.

    At most `examples` nuclei of each extreme are kept, the most extreme first,
    ties by id: `largest`, `smallest`, `least_certain`.

    Attributes
    ----------
    count, area_px : int
        Number of nuclei, and of the pixels of all of them.
    areas : (LARGEST_AREA_PX + 1,) int64
        Number of nuclei of each area in pixels.
    probabilities : (PROBABILITY_STEPS,) int64
        Number of nuclei in each step of mean probability; the last holds those of 1.
    cells : (rows, columns) int64
        Number of nuclei whose centroid lies in each square of `CELL_PX`.
    """

    def __init__(self, shape: tuple[int, int], *, examples: int) -> None:
        self.shape = shape
        self.count = 0
        self.area_px = 0
        self.areas = np.zeros(LARGEST_AREA_PX + 1, np.int64)
        self.probabilities = np.zeros(PROBABILITY_STEPS, np.int64)
        self.cells = np.zeros([-(-length // CELL_PX) for length in shape], np.int64)
        self._extremes = tuple(_Extremes(examples) for _ in range(3))

    def add(self, rows: MeasuredNuclei) -> None:
        """Add some rows, which come in order of ids."""
        area = rows.columns["area_px"].astype(np.int64)
        probability = rows.columns["mean_probability"].astype(np.float64)
        self.count += len(area)
        self.area_px += int(area.sum())
        self.areas += np.bincount(np.minimum(area, LARGEST_AREA_PX), minlength=len(self.areas))
        step = np.minimum(probability * PROBABILITY_STEPS, PROBABILITY_STEPS - 1).astype(np.int64)
        self.probabilities += np.bincount(step, minlength=PROBABILITY_STEPS)
        place = [(rows.columns[f"centroid_{axis}_px"] // CELL_PX).astype(np.int64) for axis in "yx"]
        np.add.at(self.cells, tuple(place), 1)
        for extremes, key in zip(self._extremes, (-area, area, probability), strict=True):
            extremes.add(rows, key)

    @property
    def largest(self) -> list[Nucleus]:
        """Nuclei of largest area, the largest first."""
        return self._extremes[0].nuclei

    @property
    def smallest(self) -> list[Nucleus]:
        """Nuclei of smallest area, the smallest first."""
        return self._extremes[1].nuclei

    @property
    def least_certain(self) -> list[Nucleus]:
        """Nuclei of lowest mean probability, the lowest first."""
        return self._extremes[2].nuclei

    def area_quantile(self, share: float) -> int:
        """The smallest area in pixels that at least `share` of the nuclei do not exceed."""
        return int(np.searchsorted(np.cumsum(self.areas), max(1.0, share * self.count)))

    def probability_quantile(self, share: float) -> float:
        """Quantile of mean probabilities, as that of areas, to the lower end of a step."""
        reached = np.searchsorted(np.cumsum(self.probabilities), max(1.0, share * self.count))
        return float(reached) / PROBABILITY_STEPS


class _Extremes:
    """The nuclei with the smallest keys of all rows seen so far."""

    def __init__(self, examples: int) -> None:
        self._examples = examples
        self._kept: list[tuple[float, int, Nucleus]] = []

    def add(self, rows: MeasuredNuclei, key: npt.NDArray[np.generic]) -> None:
        for place in np.argsort(key, kind="stable")[: self._examples].tolist():
            row = {name: values[place] for name, values in rows.columns.items()}
            nucleus = Nucleus(
                id=int(row["id"]),
                box=Box(*(int(row[f"{side}_px"]) for side in ("y0", "x0", "y1", "x1"))),
                area_px=int(row["area_px"]),
                probability=float(row["mean_probability"]),
                outline=rows.outlines[place],
            )
            self._kept.append((float(key[place]), nucleus.id, nucleus))
        self._kept = sorted(self._kept, key=lambda kept: kept[:2])[: self._examples]

    @property
    def nuclei(self) -> list[Nucleus]:
        return [nucleus for _, _, nucleus in self._kept]
