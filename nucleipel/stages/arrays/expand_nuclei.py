"""Cells around nuclei, as a second map with its own table."""

from typing import Any

import numpy as np

from nucleipel.core.measured_nuclei import MeasuredNuclei
from nucleipel.errors import ConfigError
from nucleipel.instances.cells import SIDES, facts_of_cells, table_of_cells
from nucleipel.instances.expand import ExpandedMap
from nucleipel.stages.arrays.merge_labels import LabeledArray


def expand_nuclei(
    labels: Any, nuclei: list[MeasuredNuclei], *, um: float, mpp: float | None
) -> LabeledArray:
    """Cells that reach `um` beyond their nuclei, without overlap, with the nuclei's ids.

    `labels` is the (H, W) uint32 map of `nuclei`, NumPy or zarr; cells are computed when they
    are read (`instances/expand.py`).

    Raises
    ------
    ConfigError
        If `um` is not above 0, or the mpp is not known.
    """
    number = isinstance(um, int | float | np.number)
    if not (number and np.isfinite(um) and um > 0):
        raise ConfigError(f"expand_um: {um!r}; expected micrometers above 0")
    if mpp is None:
        raise ConfigError("expand_um: the pixel size is not known; segment again with the mpp")
    cells = ExpandedMap(labels, um / mpp)
    columns = {
        name: np.concatenate([np.asarray(rows.columns[name]) for rows in nuclei])
        for name in (*SIDES, "area_px")
    }
    table = table_of_cells(MeasuredNuclei(columns, []), cells)
    return LabeledArray(cells, mpp, facts_of_cells(um, cells, len(table)), table)
