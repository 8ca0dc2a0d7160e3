"""Measurements of the cells around some nuclei: the rows of a second table, with the same ids."""

from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.measured_nuclei import MeasuredNuclei
from nucleipel.instances.expand import ExpandedMap
from nucleipel.instances.measurements import MeasuredImage, measure_nuclei
from nucleipel.instances.nucleus_table import NucleusTable
from nucleipel.instances.output_frame import OutputMap
from nucleipel.instances.table_of_map import table_of_boxes

SIDES = ("y0_px", "x0_px", "y1_px", "x1_px")
NOT_OF_CELLS = "mean_probability"
"""A column that only nuclei have: a map of probabilities knows no cells."""


class Cells:
    """The cells around the nuclei of a map, drawn and measured part by part.

    Parameters
    ----------
    nuclei : OutputMap
        The map of nuclei.
    um : float
        How far cells reach beyond their nuclei.
    mpp : float
        Um per pixel of the map.
    count : int
        Number of nuclei.
    """

    def __init__(self, nuclei: OutputMap, *, um: float, mpp: float, count: int) -> None:
        self._nuclei, self._mpp, self._um, self._count = nuclei, mpp, um, count
        self._expanded = ExpandedMap(nuclei, um / mpp)
        self._drawn = OutputMap(self._expanded, nuclei=count)

    def to_json(self) -> dict[str, Any]:
        """Facts about the cells, for a certificate."""
        return facts_of_cells(self._um, self._expanded, self._count)

    def read(self, box: Box) -> npt.NDArray[np.uint32] | None:
        """The (h, w) uint32 ids of a box; None where it is known to hold none."""
        around = box.grow(int(self._expanded.distance_px)).clip(self._nuclei.shape)
        return None if self._nuclei.is_empty(around) else self._drawn[box.slices]

    def measure(self, nuclei: MeasuredNuclei, image: MeasuredImage | None = None) -> MeasuredNuclei:
        """The cells of some nuclei that follow each other, with the outlines of these nuclei."""
        ids = np.asarray(nuclei.columns["id"])
        rows = measure_nuclei(
            table_of_cells(nuclei, self._expanded),
            self._drawn,
            mpp=self._mpp,
            image=image,
            first=int(ids[0]) - 1 if len(ids) else 0,
        )
        some = list(rows)
        columns: dict[str, Any] = {
            name: np.concatenate([part.columns[name] for part in some])
            for name in some[0].columns
            if name != NOT_OF_CELLS
        }
        outlines = [outline for part in some for outline in part.outlines]
        return MeasuredNuclei(columns, outlines, nuclei.outlines)


def facts_of_cells(um: float, cells: ExpandedMap, count: int) -> dict[str, Any]:
    """Facts about cells that reach `um` beyond `count` nuclei, for a certificate."""
    return {
        "cells_of": "nuclei, each pixel that of the nearest one",
        "expand_um": um,
        "expand_px": cells.distance_px,
        "nuclei": count,
    }


def table_of_cells(nuclei: MeasuredNuclei, cells: ExpandedMap) -> NucleusTable:
    """Boxes that hold the cells of some nuclei, as `measure_nuclei` takes them."""
    boxes = np.stack([nuclei.columns[side] for side in SIDES], axis=1).astype(np.int64)
    reach = int(cells.distance_px)
    grown = boxes + np.array([-reach, -reach, reach, reach])
    area = np.asarray(nuclei.columns["area_px"]).astype(np.int64)
    return table_of_boxes(np.clip(grown, 0, [*cells.shape, *cells.shape]), area)
