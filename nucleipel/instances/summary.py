"""What can be told of all nuclei of an image in one pass over their table, in little memory."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.instances.table import NucleusTable

LARGEST_AREA_PX = 2**16 - 1
"""Larger nuclei are counted at this area."""
PROBABILITY_STEPS = 100
CELL_PX = 512


@dataclass(frozen=True, slots=True)
class Nucleus:
    """One row of the table: `id`, `box`, `area_px`, and `probability`, its mean."""

    id: int
    box: Box
    area_px: int
    probability: float


@dataclass(frozen=True)
class Summary:
    """The nuclei of one image.

    Parameters
    ----------
    count, area_px : int
        Nuclei, and the pixels of all of them.
    areas : (LARGEST_AREA_PX + 1,) int64
        Nuclei of each area in pixels.
    probabilities : (PROBABILITY_STEPS,) int64
        Nuclei a step of mean probability; the last holds those of 1.
    cells : (rows, columns) int64
        Nuclei whose centroid lies in each square of `CELL_PX`.
    largest, smallest, least_certain : list of Nucleus
        The most extreme first, ties by id.
    """

    count: int
    area_px: int
    areas: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.int64]
    cells: npt.NDArray[np.int64]
    largest: list[Nucleus]
    smallest: list[Nucleus]
    least_certain: list[Nucleus]

    def area_quantile(self, share: float) -> int:
        """The smallest area in pixels that at least `share` of the nuclei do not exceed."""
        return int(np.searchsorted(np.cumsum(self.areas), max(1.0, share * self.count)))


def summarize(
    parts: Iterable[NucleusTable], shape: tuple[int, int], *, examples: int
) -> Summary:
    """Read the table of an image of shape (height, width), some nuclei at a time.

    At most `examples` nuclei of each extreme are kept.

    >>> rows = np.zeros((1, 10), np.int64)
    >>> summarize([NucleusTable(rows[:0])], (600, 40), examples=3).cells.shape
    (2, 1)
    """
    areas = np.zeros(LARGEST_AREA_PX + 1, np.int64)
    probabilities = np.zeros(PROBABILITY_STEPS, np.int64)
    cells = np.zeros([-(-length // CELL_PX) for length in shape], np.int64)
    largest = _Extremes(examples, lambda part: -part.area_px)
    smallest = _Extremes(examples, lambda part: part.area_px)
    least_certain = _Extremes(examples, lambda part: part.mean_probability)
    area_px = 0
    for part in parts:
        area = part.area_px
        area_px += int(area.sum())
        areas += np.bincount(np.minimum(area, LARGEST_AREA_PX), minlength=len(areas))
        step = (part.mean_probability * PROBABILITY_STEPS).astype(np.int64)
        probabilities += np.bincount(
            np.minimum(step, PROBABILITY_STEPS - 1), minlength=PROBABILITY_STEPS
        )
        place = (part.centroid_px // CELL_PX).astype(np.int64)
        np.add.at(cells, (place[:, 0], place[:, 1]), 1)
        for extremes in (largest, smallest, least_certain):
            extremes.add(part)
    return Summary(
        count=int(areas.sum()),
        area_px=area_px,
        areas=areas,
        probabilities=probabilities,
        cells=cells,
        largest=largest.nuclei,
        smallest=smallest.nuclei,
        least_certain=least_certain.nuclei,
    )


class _Extremes:
    """The nuclei with the smallest keys of all parts seen so far."""

    def __init__(
        self, examples: int, key: Callable[[NucleusTable], npt.NDArray[np.generic]]
    ) -> None:
        self._examples = examples
        self._key = key
        self._kept: list[tuple[float, int, Nucleus]] = []

    def add(self, part: NucleusTable) -> None:
        keys, boxes = self._key(part), part.box_px
        for place in np.argsort(keys, kind="stable")[: self._examples].tolist():
            nucleus = Nucleus(
                id=part.first_id + place,
                box=Box(*boxes[place].tolist()),
                area_px=int(part.area_px[place]),
                probability=float(part.mean_probability[place]),
            )
            self._kept.append((float(keys[place]), nucleus.id, nucleus))
        self._kept = sorted(self._kept, key=lambda kept: kept[:2])[: self._examples]

    @property
    def nuclei(self) -> list[Nucleus]:
        """In order of their keys, then ids."""
        return [nucleus for _, _, nucleus in self._kept]
