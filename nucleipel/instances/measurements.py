"""Measurements of each nucleus: place, size, shape, intensities, stains, outline.

Nuclei are taken in order of ids, some rows of cells at a time, each from its
own exact box; so a nucleus has the same row for every size of cells. Shapes are
defined as in scikit-image's `regionprops`:

- `centroid`: mean of pixel indices. All other positions count from the image's
  corner: pixel i spans i to i + 1;
- `perimeter`: border pixels, weighted by their neighbors on the border (`_border`
  in `region_sums.py`);
- `major_axis`, `minor_axis`, `eccentricity`: of the ellipse with the same
  second moments;
- `solidity`: area by the number of pixels in the convex hull;
- `mean_probability` of being nucleus, in [0, 1], over the pixels of the working
  map;
- `<channel>_mean`, `<channel>_std`: of the image's stored values, the standard
  deviation by n;
- `hematoxylin_od_mean`, `eosin_od_mean`: optical densities (base 10, against
  `MeasuredImage.white`) after color deconvolution with Ruifrok and Johnston's stains (2001),
  as `skimage.color.rgb2hed` has them, which divides them by 6.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.measured_nuclei import MeasuredNuclei, Outline
from nucleipel.instances.nucleus_sums import SHAPE, intensity_sums, shape_sums, stain_sums
from nucleipel.instances.nucleus_table import NucleusTable
from nucleipel.instances.outlines import outlines
from nucleipel.instances.output_frame import OutputMap
from nucleipel.instances.watershed import FIRST_Y

CELL_PX = 1024
FAINTEST = 1e-6
"""Share of white at which darkness ends: darker pixels count as this, as in scikit-image."""


@dataclass(frozen=True, slots=True)
class MeasuredImage:
    """The pixels that intensities are measured in, in the frame of the instance map.

    Parameters
    ----------
    read : callable
        Returns the (h, w, C) unsigned integers of a box.
    channels : tuple of str
        Names of the C channels.
    white : int, optional
        The value of white, if they are the red, green and blue of stains in transmitted light.
    """

    read: Callable[[Box], npt.NDArray[Any]]
    channels: tuple[str, ...]
    white: int | None = None


def measure_nuclei(
    table: NucleusTable,
    drawn: OutputMap,
    *,
    mpp: float | None,
    image: MeasuredImage | None = None,
    first: int = 0,
    cell_px: int = CELL_PX,
) -> Iterator[MeasuredNuclei]:
    """Measure nuclei, some at a time, in order of ids; without any, yield no rows once.

    Parameters
    ----------
    table : NucleusTable
        Nuclei of the working map, all of them or some that follow each other.
    drawn : OutputMap
        The instance map; what it has lost is left out.
    mpp : float, optional
        Um per pixel of `drawn`; without it all that is in um is NaN.
    image : MeasuredImage, optional
        Without it no intensities are measured.
    first : int
        How many nuclei come before those of the table.
    cell_px : int
        Side of the cells. Sets the memory, never the result.
    """
    band_px = max(1, round(cell_px / drawn.ratio))
    first_rows = np.ascontiguousarray(table.rows[:, FIRST_Y])
    begin = int(first_rows.min(initial=first_rows.max(initial=0))) // band_px * band_px
    edges = np.arange(begin, first_rows.max(initial=0) + 1 + band_px, band_px)
    stops = np.searchsorted(first_rows, edges).tolist()
    bands = [(start, stop) for start, stop in pairwise(stops) if start < stop] or [(0, 0)]
    for start, stop in bands:
        kept = drawn.kept[first + start : first + stop]
        part = NucleusTable(np.asarray(table.rows[start:stop])[kept])
        ids = drawn.ids(first + start, first + stop)[kept]
        sums = _Sums(len(ids), image)
        boxes = drawn.boxes(part.box_px)
        cells = boxes[:, 1] // cell_px
        for cell in np.unique(cells):
            sums.add(np.flatnonzero(cells == cell), ids, boxes, drawn, image)
        yield MeasuredNuclei(
            {
                "id": ids,
                **_shape_columns(sums.shapes, mpp),
                "mean_probability": part.mean_probability,
                **_intensity_columns(sums, image),
            },
            sums.outlines,
        )


class _Sums:
    """Sums over the pixels of n nuclei, added cell by cell, and their outlines."""

    def __init__(self, count: int, image: MeasuredImage | None) -> None:
        self.shapes = np.zeros((count, len(SHAPE)), np.int64)
        self.values = np.zeros((count, len(image.channels) if image else 0, 2), np.int64)
        self.stains = np.zeros((count, 2))
        self.outlines: list[Outline] = [[]] * count

    def add(
        self,
        members: npt.NDArray[np.intp],
        ids: npt.NDArray[np.int64],
        boxes: npt.NDArray[np.int64],
        drawn: OutputMap,
        image: MeasuredImage | None,
    ) -> None:
        """Measure the nuclei of one cell, in one window that holds them all."""
        low, high = boxes[members, :2].min(axis=0), boxes[members, 2:].max(axis=0)
        window = Box(*low.tolist(), *high.tolist())
        part, wanted = drawn[window.slices], ids[members]
        inside = boxes[members] - np.tile(low, 2)
        shapes = shape_sums(part, wanted, inside)
        shapes[:, _BOX] += np.tile(low, 2)
        self.shapes[members] = shapes
        lines = outlines(part, wanted, inside, origin=(window.y0, window.x0))
        for member, line in zip(members.tolist(), lines, strict=True):
            self.outlines[member] = line
        if image is None:
            return
        pixels = np.ascontiguousarray(image.read(window))
        self.values[members] = intensity_sums(part, wanted, inside, pixels)
        if image.white is not None:
            density = _optical_densities(pixels.dtype, image.white)
            self.stains[members] = stain_sums(part, wanted, inside, pixels, density, _unmixing())


_BOX = slice(SHAPE.index("y0"), SHAPE.index("x1") + 1)


def _shape_columns(
    shapes: npt.NDArray[np.int64], mpp: float | None
) -> dict[str, npt.NDArray[np.generic]]:
    sums = dict(zip(SHAPE, shapes.T, strict=True))
    um = float("nan") if mpp is None else mpp
    area = sums["area"]
    mean_y, mean_x = sums["sum_y"] / area, sums["sum_x"] / area
    major, minor, eccentricity = _ellipse(
        sums["sum_yy"] / area - mean_y**2,
        sums["sum_xx"] / area - mean_x**2,
        sums["sum_xy"] / area - mean_y * mean_x,
    )
    root = 2**0.5
    lengths = {
        "centroid_y": sums["y0"] + mean_y,
        "centroid_x": sums["x0"] + mean_x,
        **{side: sums[side] for side in ("y0", "x0", "y1", "x1")},
        "perimeter": sums["straight"] + root * sums["diagonal"] + (1 + root) / 2 * sums["mixed"],
        "major_axis": major,
        "minor_axis": minor,
    }
    return {
        **{f"{name}_px": values for name, values in lengths.items()},
        "area_px": area,
        **{f"{name}_um": values * um for name, values in lengths.items()},
        "area_um2": area * um**2,
        "eccentricity": eccentricity,
        "solidity": area / sums["convex"],
    }


def _ellipse(
    yy: npt.NDArray[np.float64], xx: npt.NDArray[np.float64], xy: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], ...]:
    """Major and minor axis and eccentricity of the ellipses with these central second moments."""
    middle, difference = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
    long, short = middle + difference, np.maximum(middle - difference, 0)
    ratio = np.divide(short, long, out=np.ones_like(long), where=long > 0)
    return 4 * np.sqrt(long), 4 * np.sqrt(short), np.sqrt(1 - ratio)


def _intensity_columns(
    sums: _Sums, image: MeasuredImage | None
) -> dict[str, npt.NDArray[np.generic]]:
    if image is None:
        return {}
    area = sums.shapes[:, SHAPE.index("area")]
    columns: dict[str, npt.NDArray[np.generic]] = {}
    for index, name in enumerate(_unique(image.channels)):
        total, squares = sums.values[:, index].T
        mean = total / area
        columns[f"{name}_mean"] = mean
        columns[f"{name}_std"] = np.sqrt(np.maximum(squares / area - mean**2, 0))
    if image.white is not None:
        for index, name in enumerate(("hematoxylin", "eosin")):
            columns[f"{name}_od_mean"] = sums.stains[:, index] / area
    return columns


def _unique(names: tuple[str, ...]) -> list[str]:
    """Make channel names unique: with their numbers where two are equal."""
    return [
        name if names.count(name) == 1 else f"{name}_{index}" for index, name in enumerate(names)
    ]


def _optical_densities(dtype: np.dtype[Any], white: int) -> npt.NDArray[np.float64]:
    light = np.arange(np.iinfo(dtype).max + 1) / white
    return -np.log10(np.clip(light, FAINTEST, 1))


def _unmixing() -> npt.NDArray[np.float64]:
    """Matrix (3, 2) from optical densities of red, green and blue to hematoxylin's and eosin's."""
    from skimage.color import hed_from_rgb

    return np.ascontiguousarray(hed_from_rgb[:, :2])
