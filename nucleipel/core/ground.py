"""Where a coarse picture of a slide holds tissue, measured against its own empty ground.

The measure is absolute: it needs no range of intensities, so that the range can
be taken where tissue is. A picture is seen in cells, means of some 16 x 16
pixels, in which noise is small and a nucleus still stands out.

- **On bright ground** (stains in transmitted light) the white of the glass is
  the commonest color among the even cells that are nearly as light as the
  lightest. A cell is tissue if its optical density (the decadic logarithm of
  white over light: Beer, Lambert) is more than `DENSITY`, or differs between
  red, green and blue by more than `HUE`.
- **On dark ground** (fluorescence) the level of the ground is that of the
  darkest cells, as far as noise reaches up from them. A cell is tissue if one
  of its channels is brighter by `DEVIATIONS` of the noise.

No illumination is even: both are measured against the ground nearby, the mean
of the cells around that look like ground. Cells of pure black or white that do
not vary at all are no ground: scanners fill with them what they did not see.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

DENSITY, HUE = 0.04, 0.02
"""Optical densities: 9 and 4 % of the light. The noise of glass, on cells, is below 0.005."""
SHADE, TINT = 0.1, 0.012
"""Those that glass may have where the light is dim, or not quite white."""
NEARLY_LIGHTEST, EVEN = 0.8, 0.04
"""White is at least so much of the lightest cells, and varies no more among neighbors."""
LEAST_GLASS = 0.001
"""Share of even light cells below which a picture shows no glass at all."""
DEVIATIONS = 6.0
"""Of the noise: one in 10^9 cells of normal noise is brighter."""
LEAST_NOISE = 0.3
"""Standard deviation of rounding to whole stored values, about."""
LIGHT = 0.3
"""Colors are stains if the median cell has so much of the lightest cell's light: measured were
0.35 and more for stains, 0.2 and less for fluorescence."""
LEAST_WHITE = {1: 64, 2: 1024}
"""What transmitted light exceeds, by the bytes of a stored value (12 bits may stand in 16)."""
FEW_ARE_LIGHT = 0.01
"""Share of nearly lightest cells that glass exceeds, and the brightest nuclei do not."""
NEAR_CELLS, FAR_CELLS = 8, 64
"""Standard deviations of the two windows that the ground nearby is averaged in."""
USUAL = 2.5
"""Ground varies among neighbors at most so many times as much as most of it."""
SQUARE = np.ones((3, 3), np.uint8)

Cells = npt.NDArray[Any]
Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Ground:
    """Empty glass as a slide shows it: `bright` or dark, and `level` of each channel as stored."""

    bright: bool
    level: tuple[float, ...]


def find_ground_and_tissue(
    cells: Cells, *, is_color: bool, pixel_noise: npt.NDArray[np.floating]
) -> tuple[Ground, Mask]:
    """The ground of a picture (h, w, C) of cells, and which cells (h, w) are tissue.

    `pixel_noise` (C,) is the standard deviation of single pixels, as far as
    noise alone makes it (`noise_of_pixels`): that of cells is not larger.
    """
    if is_on_bright_ground(cells, is_color=is_color):
        return _on_bright(cells)
    return _on_dark(cells, pixel_noise)


def is_on_bright_ground(cells: Cells, *, is_color: bool) -> bool:
    """Whether a picture (h, w, C) shows transmitted light: most of it is light, not dark.

    Gray ones are told by where between the darkest and the lightest cell the median lies.
    """
    void = _void(cells)
    light = _light(cells)[~void]
    if not light.size:
        return True
    median, lightest = float(np.median(light)), float(light.max())
    if void.any() and np.mean(light > NEARLY_LIGHTEST * np.percentile(light, 99.9)) < FEW_ARE_LIGHT:
        return False  # the void is the ground of fluorescence, clipped to black
    if is_color:
        return median > LIGHT * lightest > LIGHT * LEAST_WHITE[cells.dtype.itemsize]
    darkest = float(light.min())
    return median - darkest > (lightest - darkest) / 2


def noise_of_pixels(regions: Cells) -> npt.NDArray[np.float64]:
    """Standard deviation (C,) of the noise in regions (n, h, w, C).

    From the median difference of neighbors, which edges and structures hardly change.
    """
    steps = np.abs(np.diff(regions.astype(np.float32), axis=2))
    return np.asarray(1.4826 * np.median(steps, axis=(0, 1, 2)) / np.sqrt(2), np.float64)


# --- bright ground ---------------------------------------------------------------------


def _on_bright(cells: Cells) -> tuple[Ground, Mask]:
    uneven = np.max([_contrast(_plane(cells, c)) for c in range(cells.shape[-1])], axis=0)
    white, lightest = _white(cells, uneven)
    light = np.maximum(cells.astype(np.float32), np.float32(1e-3 * lightest))
    density = np.log10(white) - np.log10(light)
    clear = _absorbs_little(density, DENSITY / 2, TINT) & (uneven <= EVEN * lightest)
    if clear.any():
        even = uneven <= max(USUAL * float(np.median(uneven[clear])), EVEN / 4 * lightest)
        glass = _in_one_piece(clear, even & _absorbs_little(density, SHADE, TINT))
        for channel in range(cells.shape[-1]):
            nearby = _nearby(_plane(cells, channel), glass, white[channel])
            density[..., channel] += np.log10(nearby / white[channel])
    tissue = ~_absorbs_little(density, DENSITY, HUE) & ~_pure(cells)
    return Ground(True, tuple(map(float, white))), tissue


def _white(cells: Cells, uneven: Plane) -> tuple[npt.NDArray[np.float32], float]:
    """White (C,) of the glass, and the light of the lightest cells."""
    light = _light(cells)
    seen = ~_void(cells)
    if seen.mean() < LEAST_GLASS:
        seen = np.ones_like(seen)
    lightest = max(float(np.percentile(light[seen], 99.9)), 1.0)
    even = seen & (uneven < EVEN * lightest) & (light > NEARLY_LIGHTEST * lightest)
    if even.sum() < max(9, LEAST_GLASS * even.size):
        white = np.percentile(cells[seen], 99.5, axis=0)
    else:
        edges = np.linspace(NEARLY_LIGHTEST, 1.02, 23) * lightest
        counts = np.histogram(light[even], edges)[0]
        commonest = edges[1 + np.argmax(counts[:-1] + counts[1:])]
        white = np.median(cells[even & (np.abs(light - commonest) < 0.03 * lightest)], axis=0)
    return np.maximum(white, 1).astype(np.float32), lightest


def _absorbs_little(density: Plane, most: float, most_hue: float) -> Mask:
    return (np.abs(density.mean(axis=-1)) <= most) & (np.ptp(density, axis=-1) <= most_hue)


# --- dark ground -----------------------------------------------------------------------


def _on_dark(cells: Cells, pixel_noise: npt.NDArray[np.floating]) -> tuple[Ground, Mask]:
    tissue = np.zeros(cells.shape[:2], bool)
    levels = []
    for channel, noise in enumerate(pixel_noise):
        level, shines = _shines(_plane(cells, channel), float(noise))
        levels.append(level)
        tissue |= shines
    return Ground(False, tuple(levels)), tissue


def _shines(plane: Plane, pixel_noise: float) -> tuple[float, Mask]:
    """The level of the ground of one channel, and where it is brighter than that."""
    seen = plane > 0
    if not seen.any():
        return 0.0, seen
    pixel_noise = max(pixel_noise, LEAST_NOISE)
    level, noise = _darkest(plane[seen], pixel_noise)
    dark = seen & (plane <= level + 4 * noise)
    uneven = _contrast(plane)
    usual = min(float(np.median(uneven[dark])), 3 * pixel_noise)
    ground = _in_one_piece(dark, seen & (uneven <= max(USUAL * usual, 2)))
    above = plane - _nearby(plane, ground, level)
    return level, above > DEVIATIONS * _noise(above[ground])


def _darkest(values: Plane, most_noise: float) -> tuple[float, float]:
    """Level and noise of the darkest of some values: sigma clipping, from the lowest quarter up."""
    ordered = np.sort(values)
    end = ordered[len(ordered) // 4]
    for _ in range(50):
        chosen = ordered[: np.searchsorted(ordered, end, "right")]
        level, noise = float(chosen[len(chosen) // 2]), min(_noise(chosen), most_noise)
        before, end = end, level + 3 * noise
        if end == before:
            break
    return level, noise


def _noise(values: Plane) -> float:
    """The standard deviation of values without outliers; whole numbers deceive their median."""
    off = np.abs(values - np.median(values))
    usual = max(1.4826 * float(np.median(off)), LEAST_NOISE)
    return max(float(np.sqrt(np.mean(off[off <= 4 * usual] ** 2))), LEAST_NOISE)


# --- both ------------------------------------------------------------------------------


def _light(cells: Cells) -> Plane:
    return cells.mean(axis=-1, dtype=np.float32)


def _plane(cells: Cells, channel: int) -> Plane:
    return np.ascontiguousarray(cells[..., channel], np.float32)


def _pure(cells: Cells) -> Mask:
    """Cells of pure black or white."""
    return (cells == 0).all(axis=-1) | (cells == np.iinfo(cells.dtype).max).all(axis=-1)


def _void(cells: Cells) -> Mask:
    """Pure cells whose neighbors are pure, too."""
    return cv2.erode(_pure(cells).astype(np.uint8), SQUARE) > 0


def _contrast(plane: Plane) -> Plane:
    """The difference of the largest and the smallest of each cell and its eight neighbors."""
    return np.asarray(cv2.dilate(plane, SQUARE) - cv2.erode(plane, SQUARE), np.float32)


def _in_one_piece(start: Mask, allowed: Mask) -> Mask:
    """The cells of `start`, and what is allowed and in one piece (4-connected) with any of them.

    So ground is followed into dimmer light, but not across the edges of tissue.
    """
    _, pieces = cv2.connectedComponents(allowed.astype(np.uint8), connectivity=4)
    reached = np.zeros(int(pieces.max()) + 1, bool)
    reached[pieces[start & allowed]] = True
    return np.asarray(start | (reached[pieces] & allowed))


def _nearby(plane: Plane, seeds: Mask, level: float) -> Plane:
    """The mean of a plane's seeds around each cell, or `level` where there are none at all."""
    weight = seeds.astype(np.float32)
    mean = np.full_like(plane, level)
    for cells in (FAR_CELLS, NEAR_CELLS):
        count = cv2.GaussianBlur(weight, (0, 0), cells, borderType=cv2.BORDER_REFLECT)
        total = cv2.GaussianBlur(plane * weight, (0, 0), cells, borderType=cv2.BORDER_REFLECT)
        mean = (total + 0.02 * mean) / (count + 0.02)
    # Tukey's twicing: the mean of what the mean leaves, or slopes would look like tissue
    left = cv2.GaussianBlur(
        (plane - mean) * weight, (0, 0), NEAR_CELLS, borderType=cv2.BORDER_REFLECT
    )
    return mean + left / (count + 0.02)
