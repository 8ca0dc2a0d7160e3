"""Tissue masks as other programs make them, of the cells of 8 um that ours is made of.

Formulas and defaults are those of the sources named at each; CLAM without its
filters of areas, which drop all tissue of fewer than 26 Mpx. TIAToolbox, CLAM and
HistoQC are for stained tissue in RGB. The others take gray, as they
do for fluorescence, where what is brighter than the threshold is tissue.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
CELL_UM = 8.0


def others(cells: Picture, *, bright: bool) -> dict[str, Callable[[], Mask]]:
    """The masks (h, w) of a picture (h, w, C), by name; each is made when it is called."""
    from skimage import filters

    thresholds = {
        "Otsu": filters.threshold_otsu,
        "Li": filters.threshold_li,
        "triangle": filters.threshold_triangle,
    }
    gray = cv2.cvtColor(cells, cv2.COLOR_RGB2GRAY) if cells.shape[-1] == 3 else cells[..., 0]
    if not bright:
        return {name: _above(gray, find) for name, find in thresholds.items()}
    methods = {
        "TIAToolbox OtsuTissueMasker": lambda: gray < filters.threshold_otsu(gray),
        "TIAToolbox MorphologicalMasker": lambda: _morphological(gray),
        "CLAM": lambda: _clam(cells, otsu=False),
        "CLAM, use_otsu": lambda: _clam(cells, otsu=True),
        "HistoQC, light and dark": lambda: (gray < 0.9 * 255) & (gray > 0.15 * 255),
        "Otsu on saturation": _above(_saturation(cells), filters.threshold_otsu),
    }
    darkness = 255 - gray
    for name in ("Li", "triangle"):
        methods[name] = _above(darkness, thresholds[name])
    return methods


def _above(plane: Picture, find: Callable[[Picture], float]) -> Callable[[], Mask]:
    return lambda: np.asarray(plane > find(plane))


def _saturation(cells: Picture) -> Picture:
    return np.ascontiguousarray(cv2.cvtColor(cells, cv2.COLOR_RGB2HSV)[..., 1])


def _morphological(gray: Picture) -> Mask:
    """See tiatoolbox/tools/tissuemask.py: Otsu, small pieces removed, dilation; 32 um."""
    from skimage.filters import threshold_otsu

    side = max(1, round(32 / CELL_UM))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    mask = (gray < threshold_otsu(gray)).astype(np.uint8)
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    kept = stats[:, cv2.CC_STAT_AREA] >= kernel.sum()
    kept[0] = False
    return np.asarray(cv2.dilate(kept[pieces].astype(np.uint8), kernel) > 0)


def _clam(cells: Picture, *, otsu: bool) -> Mask:
    """See CLAM's wsi_core/WholeSlideImage.py, segmentTissue: mthresh 7, sthresh 8, close 4."""
    blurred = cv2.medianBlur(_saturation(cells), 7)
    how = cv2.THRESH_BINARY | (cv2.THRESH_OTSU if otsu else 0)
    mask = cv2.threshold(blurred, 0 if otsu else 8, 255, how)[1]
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((4, 4), np.uint8)) > 0)
