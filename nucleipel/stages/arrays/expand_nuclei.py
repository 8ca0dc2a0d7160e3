"""Cells around nuclei, as a second map with its own table."""

from typing import Any

import numpy as np

from nucleipel.core.measured_nuclei import MeasuredNuclei
from nucleipel.errors import ConfigError
from nucleipel.instances.expand import ExpandedMap
from nucleipel.instances.table_of_map import table_of_boxes
from nucleipel.stages.arrays.merge_labels import LabeledArray

SIDES = ("y0_px", "x0_px", "y1_px", "x1_px")


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
    if not (np.isfinite(um) and um > 0):
        raise ConfigError(f"expand_um: {um}; expected micrometers above 0")
    if mpp is None:
        raise ConfigError("expand_um: the pixel size is not known; segment again with the mpp")
    cells = ExpandedMap(labels, um / mpp)
    boxes = np.concatenate(
        [np.stack([rows.columns[side] for side in SIDES], axis=1) for rows in nuclei]
    ).astype(np.int64)
    reach = int(cells.distance_px)
    height, width = cells.shape
    boxes = np.clip(
        boxes + np.array([-reach, -reach, reach, reach]), 0, [height, width, height, width]
    )
    area = np.concatenate([np.asarray(rows.columns["area_px"]) for rows in nuclei])
    certificate = {
        "cells_of": "nuclei, each pixel that of the nearest one",
        "expand_um": um,
        "expand_px": cells.distance_px,
        "nuclei": len(boxes),
    }
    return LabeledArray(cells, mpp, certificate, table_of_boxes(boxes, area.astype(np.int64)))
