"""The range of intensities of a slide, from the pixels where its tissue is.

Glass must not count: the share of it differs from slide to slide, and with it
every percentile over all pixels. So the range comes from the cells of the
tissue mask and what lies within `AROUND_PX` of them. That ring is there for
fluorescence: percentile 1 is that of the ground between nuclei, as in images
that are small, which consist of such cells and rings all over.

Where tissue is large, `MOST_REGIONS` squares of it stand for all. They are
spread evenly over it and depend on nothing but the slide and the working mpp.
"""

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.ground import Ground
from nucleipel.core.intensity import HIGH_PERCENTILE, LOW_PERCENTILE, IntensityRange, ValueCounts
from nucleipel.core.tissue import Tissue

if TYPE_CHECKING:
    from nucleipel.io.slides.slide import Slide

Values = npt.NDArray[np.float64]

AROUND_PX = 128
MOST_AROUND = 12
"""What lies around tissue counts at most as so many times the tissue's own pixels."""
REGION_PX = 256
MOST_REGIONS = 256
MOST_READ_PX = MOST_REGIONS * REGION_PX**2
"""Working pixels that the range of any slide is read from, at most."""
STANDS_OUT = 10.0
"""A channel stands out if its range has so many deviations of the ground's noise."""
ENOUGH_AROUND = 0.05
"""Share of the pixels that has to lie around tissue, for their noise to count."""


def measure_range(slide: "Slide", ground: Ground, tissue: Tissue) -> IntensityRange:
    """Percentiles of the pixels of tissue and around it, of each channel.

    A channel that does not stand out of the noise of the ground is not
    stretched; without tissue none is.
    """
    near = _grown(tissue, AROUND_PX)
    if not near.mask.any():
        near = Tissue(~near.mask, near.step_px, near.how)
    within, around = (ValueCounts(slide.channels, slide.dtype) for _ in range(2))
    for box in spread_regions(near, slide.shape):
        pixels = slide.read(box)
        held = tissue.pixels(box)
        within.add(pixels[held])
        around.add(pixels[near.pixels(box) & ~held])
    everything = within + (around.at_most(MOST_AROUND * within.pixels) if within.pixels else around)
    low = everything.percentile(LOW_PERCENTILE)
    high = everything.percentile(HIGH_PERCENTILE)
    if around.pixels > ENOUGH_AROUND * everything.pixels:
        most = None if within.pixels else np.iinfo(slide.dtype).max
        low, high = _not_stretched(low, high, around, bright=ground.bright, most=most)
    high = np.maximum(high, low + 1)
    return IntensityRange(tuple(map(float, low)), tuple(map(float, high)))


def _not_stretched(
    low: Values, high: Values, around: ValueCounts, *, bright: bool, most: float | None
) -> tuple[Values, Values]:
    """The range with those channels widened that do not stand out of the ground `around`.

    They get the width of the widest that does; else so much that noise is a
    small part of it, or, if there is no tissue, `most` of the dtype.
    """
    level = around.percentile(50)
    beyond = around.percentile(84.13 if bright else 15.87)  # away from where tissue lies
    least = STANDS_OUT * np.maximum(np.abs(level - beyond), 0.5)
    reach = level - low if bright else high - level
    stands_out = (reach >= least) & (most is None)
    if bright and stands_out.any():
        return low, high
    widest = float(reach[stands_out].max()) if stands_out.any() else most or least
    reach = np.where(stands_out, reach, np.maximum(reach, widest))
    return (level - reach, high) if bright else (low, level + reach)


def spread_regions(near: Tissue, shape: tuple[int, int]) -> list[Box]:
    """Squares of about `REGION_PX` that hold any of a mask, at most `MOST_REGIONS`.

    If there are more, some are left out evenly: along a curve that fills the
    plane (Morton 1966) one is taken from each equal part of the mask.
    """
    side = max(1, round(REGION_PX / near.step_px))
    height, width = near.mask.shape
    padded = np.pad(near.mask, ((0, -height % side), (0, -width % side)))
    counts = padded.reshape(padded.shape[0] // side, side, -1, side).sum(axis=(1, 3))
    places = np.argwhere(counts)
    if len(places) > MOST_REGIONS:
        places = places[np.argsort(_along_curve(places), kind="stable")]
        total = np.cumsum(counts[tuple(places.T)])
        wanted = (np.arange(MOST_REGIONS) + 0.5) * total[-1] / MOST_REGIONS
        places = places[np.unique(np.searchsorted(total, wanted))]
    px = side * near.step_px
    return [Box(y, x, y + px, x + px).clip(shape) for y, x in (places * px).tolist()]


def _along_curve(places: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
    """Where (n, 2) places lie on Morton's curve: the bits of both coordinates in turn."""
    order = np.zeros(len(places), np.int64)
    for bit in range(16):
        for axis in (0, 1):
            order |= ((places[:, axis].astype(np.int64) >> bit) & 1) << (2 * bit + 1 - axis)
    return order


def _grown(tissue: Tissue, margin_px: int) -> Tissue:
    reach = -(-margin_px // tissue.step_px)
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return Tissue(cv2.dilate(tissue.mask.astype(np.uint8), square) > 0, tissue.step_px, tissue.how)
