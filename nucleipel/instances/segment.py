"""From a class probability map to nuclei: a pure function of the map, in integers.

The steps, in this order; each acts inside one connected component, so that no
pixel outside a component can change it:

1. foreground: interior + boundary outweigh background;
2. connected components of the foreground (8-connected), small holes filled;
3. heights: half distance to the background, half interior probability,
   smoothed inside the component;
4. a steepest-ascent forest: each pixel follows its highest neighbor, under the
   strict order (height, squared distance, earlier raster position), so that no
   tie is left to chance; the pixels that climb to one peak are a basin;
5. basins merged while the lower peak stands less than `persistence` above the
   saddle between them;
6. small nuclei dropped, ids 1..n in raster order of first pixels.

A watershed with a queue (scikit-image's, say) settles ties by the history of
its heap, so that unrelated pixels elsewhere change a nucleus; this one cannot.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from nucleipel.instances.forest import basins_of, merge_basins, pixel_parents
from nucleipel.instances.holes import fill_holes
from nucleipel.instances.smooth import gaussian_weights, smooth_within
from nucleipel.instances.table import NucleusTable, measure_and_number
from nucleipel.instances.targets import BACKGROUND, BOUNDARY, INTERIOR

FULL_HEIGHT = 255 * 256
FRACTION_BITS = 8


@dataclass(frozen=True, slots=True)
class InstanceRule:
    """The numbers that shape nuclei; lengths and areas in pixels of the working mpp.

    Parameters
    ----------
    foreground_percent : int
        Share of interior + boundary against background above which a pixel is nucleus.
    fill_holes_px : int
        Largest hole that is filled.
    distance_px : int
        Distance to the background beyond which a pixel is no more central.
    smooth_px : float
        Standard deviation of the smoothing of heights.
    persistence : float
        How far, in fractions of the full height, a peak must stand above its
        saddle to be a nucleus of its own. Higher splits less.
    min_area_px : int
        Nuclei smaller than this are dropped.
    """

    foreground_percent: int
    fill_holes_px: int
    distance_px: int
    smooth_px: float
    persistence: float
    min_area_px: int


@dataclass(frozen=True)
class Instances:
    """`map`: (H, W) uint32 instance map; `table`: one row a nucleus, in order of ids."""

    map: npt.NDArray[np.uint32]
    table: NucleusTable


def segment_instances(probabilities: npt.NDArray[np.uint8], *, rule: InstanceRule) -> Instances:
    """Nuclei of a (3, H, W) uint8 map of background, interior and boundary.

    Raises
    ------
    ValueError
        If the map is of another shape or dtype.
    """
    if probabilities.ndim != 3 or probabilities.shape[0] != 3 or probabilities.dtype != np.uint8:
        raise ValueError(
            f"{probabilities.dtype} map of shape {probabilities.shape}; expected (3, H, W) uint8"
        )
    foreground = _foreground(probabilities, rule.foreground_percent)
    count, labels = cv2.connectedComponents(foreground, connectivity=8, ltype=cv2.CV_32S)
    if count > 1:
        labels = fill_holes(labels, max_px=rule.fill_holes_px)
        distance2 = _squared_distance(labels, limit_px=rule.distance_px)
        height = _heights(probabilities[INTERIOR], labels, distance2, rule)
        parents = pixel_parents(labels, height, distance2)
        basins, peaks = basins_of(parents)
        labels = merge_basins(
            height, distance2, basins, peaks, persistence=_scaled(rule.persistence)
        )
    return Instances(
        *measure_and_number(labels, 255 - probabilities[BACKGROUND], min_area_px=rule.min_area_px)
    )


def _foreground(probabilities: npt.NDArray[np.uint8], percent: int) -> npt.NDArray[np.uint8]:
    nucleus = probabilities[INTERIOR].astype(np.int32) + probabilities[BOUNDARY]
    return (nucleus * (100 - percent) > probabilities[BACKGROUND] * np.int32(percent)).astype(
        np.uint8
    )


def _squared_distance(labels: npt.NDArray[np.int32], *, limit_px: int) -> npt.NDArray[np.int32]:
    """Squared distance (px) to the nearest background pixel, at most `limit_px` squared.

    Image edges are no background. Rounding gives exact integers: OpenCV's float32
    is precise far beyond the limit.
    """
    distance = cv2.distanceTransform(
        (labels > 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    return np.rint(np.minimum(distance, np.float32(limit_px)) ** 2).astype(np.int32)


def _heights(
    interior: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int32],
    distance2: npt.NDArray[np.int32],
    rule: InstanceRule,
) -> npt.NDArray[np.int32]:
    """Heights in 0..`FULL_HEIGHT` with `FRACTION_BITS` more bits from the smoothing."""
    limit2 = rule.distance_px**2
    share = np.sqrt(np.arange(limit2 + 1) / limit2)
    central = np.rint(share * (FULL_HEIGHT // 2)).astype(np.int32)[distance2]
    raw = central + interior.astype(np.int32) * 128
    weights = gaussian_weights(rule.smooth_px)
    return smooth_within(labels, raw, weights, fraction_bits=FRACTION_BITS)


def _scaled(share: float) -> int:
    return round(share * (FULL_HEIGHT << FRACTION_BITS))
