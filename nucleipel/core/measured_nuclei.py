"""Rows of the table of nuclei with their outlines, from measuring to writing them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ring = npt.NDArray[np.float64]
"""(k, 2) corners (y, x) of a closed line, the first not repeated at its end."""
Outline = list[list[Ring]]
"""Polygons of a nucleus, one but for rare exceptions: of each the outer ring, then its holes."""


@dataclass(frozen=True)
class MeasuredNuclei:
    """Some nuclei in order of ids.

    Parameters
    ----------
    columns : dict of (n,) arrays
        By name, in the table's order; NaN where a value is not known.
    outlines : sequence of n Outline
        In pixels of the instance map's frame: pixel (y, x) spans y to y + 1 and
        x to x + 1. Outer rings run counterclockwise in (x, y): their shoelace
        sum is positive; holes run the other way.
    nuclei : sequence of n Outline, optional
        Of cells, the nuclei inside.
    """

    columns: dict[str, npt.NDArray[np.generic]]
    outlines: Sequence[Outline]
    nuclei: Sequence[Outline] | None = None


def closed_xy(ring: Ring) -> npt.NDArray[np.float64]:
    """(k + 1, 2) corners (x, y), the first again at the end: what file formats want."""
    return np.concatenate([ring, ring[:1]])[:, ::-1]
