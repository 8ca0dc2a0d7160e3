"""The range of intensities of a slide, from the pixels where its tissue is.

Glass must not count: the share of it differs from slide to slide, and with it
every percentile over all pixels. So the range is that of the cells that the
mask calls tissue. Where tissue is large, `MOST_REGIONS` squares of it stand for
all; they are spread evenly over it and depend on nothing but the slide and the
working mpp.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.intensity import IntensityRange, ValueCounts
from nucleipel.io.slides.slide_tissue import FoundTissue

if TYPE_CHECKING:
    from nucleipel.io.slides.slide import Slide

Values = npt.NDArray[np.float64]

REGION_PX = 256
MOST_REGIONS = 256
MOST_READ_PX = MOST_REGIONS * REGION_PX**2
"""Working pixels that the range of any slide is read from, at most."""
DARK_TAIL = 2
"""On dark ground so many times as much of the tissue lies above the range: images that networks
are trained on, all of which count, hold about as much ground as cells with nuclei."""
STAINED = 0.1
"""Optical density from which on a pixel on bright ground counts fully for the low end of the range.
Paler ones count less, glass not at all: so it matters little what of it a mask takes for tissue."""
STANDS_OUT = 10.0
"""A channel stands out if its range has so many deviations of the ground's noise."""
ENOUGH_GROUND = 0.05
"""Pixels of ground per pixel of tissue, from which on their noise counts."""


def measure_range(
    slide: "Slide", detected: FoundTissue, *, percentiles: tuple[float, float]
) -> IntensityRange:
    """Percentiles (low, high) of the pixels of tissue, of each channel.

    On bright ground the low one is that of stained pixels: see `STAINED`. A channel that does
    not stand out of the noise of the ground is not stretched; without tissue none is.
    """
    step = detected.tissue.step_px
    wanted = detected.weights if detected.weights.any() else np.ones_like(detected.weights)
    tissue, stained, ground = (ValueCounts(slide.channels, slide.dtype) for _ in range(3))
    for box in spread_regions(wanted, step, slide.shape):
        pixels = slide.read(box)
        weights = _cells_of(detected.weights, step, box)
        pixels_of_tissue, weights_of_tissue = pixels[weights > 0], weights[weights > 0]
        tissue.add(pixels_of_tissue, weights_of_tissue)
        if detected.ground.bright:
            stain = _stain(pixels_of_tissue, detected.ground.level)
            stained.add(pixels_of_tissue, weights_of_tissue * stain)
        ground.add(pixels[_cells_of(detected.empty, step, box)])
    shown = tissue if tissue.pixels else ground
    beyond = (100 - percentiles[1]) * (1 if detected.ground.bright else DARK_TAIL)
    lowest = stained if stained.pixels else shown
    low, high = lowest.percentile(percentiles[0]), shown.percentile(100 - beyond)
    if ground.pixels > ENOUGH_GROUND * tissue.pixels / 255:
        most = None if tissue.pixels else np.iinfo(slide.dtype).max
        low, high = _not_stretched(low, high, ground, bright=detected.ground.bright, most=most)
    high = np.maximum(high, low + 1)
    return IntensityRange(tuple(map(float, low)), tuple(map(float, high)))


def _stain(pixels: npt.NDArray[Any], level: tuple[float, ...]) -> npt.NDArray[np.int64]:
    """How much pixels (n, C) count by their optical density, 0 to 255."""
    values = np.maximum(np.arange(np.iinfo(pixels.dtype).max + 1), 1)
    densities = [np.log10(max(white, 1) / values).astype(np.float32) for white in level]
    mean = sum(table[pixels[:, c]] for c, table in enumerate(densities)) / len(densities)
    return np.rint(255 * np.clip(mean / STAINED, 0, 1)).astype(np.int64)


def _not_stretched(
    low: Values, high: Values, ground: ValueCounts, *, bright: bool, most: float | None
) -> tuple[Values, Values]:
    """The range with those channels widened that do not stand out of the noise of the ground.

    They get the width of the widest that does; else so much that noise is a
    small part of it, or, if there is no tissue, `most` of the dtype.
    """
    level = ground.percentile(50)
    beyond = ground.percentile(84.13 if bright else 15.87)  # away from where tissue lies
    least = STANDS_OUT * np.maximum(np.abs(level - beyond), 0.5)
    reach = level - low if bright else high - level
    stands_out = (reach >= least) & (most is None)
    if bright and stands_out.any():
        return low, high
    widest = float(reach[stands_out].max()) if stands_out.any() else most or least
    reach = np.where(stands_out, reach, np.maximum(reach, widest))
    return (level - reach, high) if bright else (low, level + reach)


def spread_regions(
    weights: npt.NDArray[np.uint8], step_px: int, shape: tuple[int, int]
) -> list[Box]:
    """Squares of about `REGION_PX` that hold cells of any weight, at most `MOST_REGIONS`.

    `weights` (h, w) are those of cells of `step_px`. If there are more squares,
    some are left out evenly: along a curve that fills the plane (Morton 1966)
    one is taken from each equal part of the weight.
    """
    side = max(1, round(REGION_PX / step_px))
    height, width = weights.shape
    padded = np.pad(weights, ((0, -height % side), (0, -width % side)))
    totals = padded.reshape(padded.shape[0] // side, side, -1, side).sum(axis=(1, 3), dtype=int)
    places = np.argwhere(totals)
    if len(places) > MOST_REGIONS:
        places = places[np.argsort(_along_curve(places), kind="stable")]
        reached = np.cumsum(totals[tuple(places.T)])
        wanted = (np.arange(MOST_REGIONS) + 0.5) * reached[-1] / MOST_REGIONS
        places = places[np.unique(np.searchsorted(reached, wanted))]
    px = side * step_px
    return [Box(y, x, y + px, x + px).clip(shape) for y, x in (places * px).tolist()]


def _cells_of(values: npt.NDArray[Any], step_px: int, box: Box) -> npt.NDArray[Any]:
    """For each pixel (h, w) of a box the value of its cell."""
    rows, columns = np.arange(box.y0, box.y1) // step_px, np.arange(box.x0, box.x1) // step_px
    return np.asarray(values[np.ix_(rows, columns)])


def _along_curve(places: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
    """Positions of (n, 2) places on Morton's curve: the bits of both coordinates in turn."""
    order = np.zeros(len(places), np.int64)
    for bit in range(16):
        for axis in (0, 1):
            order |= ((places[:, axis].astype(np.int64) >> bit) & 1) << (2 * bit + 1 - axis)
    return order
