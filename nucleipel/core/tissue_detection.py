"""The tissue on a coarse picture of a slide, measured against the picture's own empty ground.

The measure is absolute: it needs no range of intensities, so that the range can
be taken where tissue is. A picture is seen in cells, means of some 16 x 16
pixels, in which noise is small and a nucleus still stands out.

- **On bright ground** (stains in transmitted light) the white of the glass is
  the commonest color among the even cells that are nearly as light as the
  lightest. A cell is tissue if its optical density (the decadic logarithm of
  white over light: Beer, Lambert) is more than `DENSITY`, or if it differs
  between red, green and blue by more than `HUE`. Ink of a pen is dense and even,
  or green, or blue, as tissue never is; where no tissue is near, it is glass.
- **On dark ground** (fluorescence) the level of the ground is that of the
  darkest cells, as far as noise reaches up from them. A cell is tissue if one
  of its channels is brighter by `DEVIATIONS` of the noise.

No illumination is even: both are measured against the ground nearby, the mean
of the cells around that look like ground. Cells of pure black or white among
others such are no ground: scanners fill with them what they did not see.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

DENSITY, HUE = 0.02, 0.02
"""Optical densities: 5 % of the light. The noise of glass, on cells, is below 0.005."""
HUE_ABSORBS = 0.2
"""A hue counts if so much of it is absorbed in the mean: errors of JPEG's colors keep the light."""
SHADE, TINT = 0.1, 0.012
"""Optical densities of glass where the light is dim, or not quite white."""
NEARLY_LIGHTEST, EVEN = 0.8, 0.04
"""White is at least so much of the lightest cells, and varies no more among neighbors."""
BLACK = 0.012
"""Share of the lightest cells' light that JPEG leaves of pure black; the blackest ink has more."""
LEAST_GLASS = 0.001
"""Share of even light cells below which a picture shows no glass at all."""
INK, GREEN, BLUE = 0.25, 0.8, 1.25
"""Ink absorbs so much, and green less than red and blue, or red more than green; or it is"""
DARK, FLAT, OPAQUE = 0.4, 0.15, 0.85
"""dark, and varies by less than that share of it among neighbors, or lets no light through."""
UNDER_INK = 0.55
"""Tissue that absorbs so much, and touches ink, is under it."""
NEAR_INK_CELLS = 12
"""Ink is kept as tissue if other tissue lies within so many cells."""
DEVIATIONS = 6.0
"""Deviations of the noise: one in 10^9 cells of normal noise is brighter."""
LEAST_NOISE, FAINTEST = 0.3, 2.5
"""Standard deviation of rounding to whole stored values, about, and what JPEG's colors may add."""
LIGHT = 0.3
"""Colors are stains if the median cell has so much of the lightest cell's light: measured were
0.35 and more for stains, 0.2 and less for fluorescence."""
LEAST_WHITE = {1: 64, 2: 1024}
"""Values that transmitted light exceeds, by the bytes of a value (12 bits may stand in 16)."""
LEAST_WHITE_IN_COLOR = {1: 64, 2: 128}
"""`LEAST_WHITE` for color: 8 bits may stand in 16, and cameras that offset black are gray."""
FEW_ARE_LIGHT = 0.01
"""Share of nearly lightest cells that glass exceeds, and the brightest nuclei do not."""
WINDOWS_CELLS = (64, 8, 3)
"""Standard deviations of the windows that ground is averaged in: the smallest that holds any."""
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


@dataclass(frozen=True)
class CellKinds:
    """Kinds of the cells (h, w) of a picture, each bool.

    `tissue`, which may hold ink; `ink` of pens, and what is under it; `void`,
    which a scanner did not see, and the cells at its edge. All others are ground.
    """

    ground: Ground
    tissue: Mask
    ink: Mask
    void: Mask


def find_kinds(cells: Cells, *, is_color: bool, pixel_noise: npt.NDArray[np.floating]) -> CellKinds:
    """The ground of a picture (h, w, C) of cells, and what its cells are.

    `pixel_noise` (C,) is the standard deviation of single pixels, as far as
    noise alone makes it (`noise_of_pixels`): that of cells is not larger.
    """
    if is_on_bright_ground(cells, is_color=is_color):
        return _on_bright(cells)
    return _on_dark(cells, pixel_noise)


def is_on_bright_ground(cells: Cells, *, is_color: bool) -> bool:
    """Return whether a picture (h, w, C) shows transmitted light: most of it is light, not dark.

    Of gray ones the median decides: where it lies between the darkest and the lightest cell.
    """
    void = _void(cells)
    light = _light(cells)[~void]
    if not light.size:
        return True
    median, lightest = float(np.median(light)), float(light.max())
    if lightest <= (LEAST_WHITE_IN_COLOR if is_color else LEAST_WHITE)[cells.dtype.itemsize]:
        return False
    if void.any() and np.mean(light > NEARLY_LIGHTEST * np.percentile(light, 99.9)) < FEW_ARE_LIGHT:
        return False  # the void is the ground of fluorescence, clipped to black
    if is_color:
        return median > LIGHT * lightest
    darkest = float(light.min())
    return median - darkest > (lightest - darkest) / 2


def noise_of_pixels(regions: Cells) -> npt.NDArray[np.float64]:
    """Standard deviation (C,) of the noise in regions (n, h, w, C).

    From the median difference of neighbors, which edges and structures hardly change; 0 where
    there are none.
    """
    if regions.shape[2] < 2:
        return np.zeros(regions.shape[-1])
    steps = np.abs(np.diff(regions.astype(np.float32), axis=2))
    return np.asarray(1.4826 * np.median(steps, axis=(0, 1, 2)) / np.sqrt(2), np.float64)


# --- bright ground ---------------------------------------------------------------------


def _on_bright(cells: Cells) -> CellKinds:
    uneven = np.max([_contrast(_plane(cells, c)) for c in range(cells.shape[-1])], axis=0)
    white, lightest = _white(cells, uneven)
    light = np.maximum(cells.astype(np.float32), np.float32(1e-3 * lightest))
    density = np.log10(white) - np.log10(light)
    clear = _is_like_glass(density, DENSITY / 2) & (uneven <= EVEN * lightest)
    if clear.any():
        even = uneven <= max(USUAL * float(np.median(uneven[clear])), EVEN / 4 * lightest)
        glass = _in_one_piece(clear, even & _is_like_glass(density, SHADE))
        for channel in range(cells.shape[-1]):
            nearby = _nearby(_plane(cells, channel), glass, white[channel])
            density[..., channel] += np.log10(nearby / white[channel])
    void = _grown(_void(cells) | (light.max(axis=-1) < BLACK * lightest), 1)
    tissue = _absorbs(density) & ~void
    ink = _ink(density) & ~void
    others = _grown(cv2.erode((tissue & ~ink).astype(np.uint8), SQUARE) > 0, NEAR_INK_CELLS)
    return CellKinds(
        Ground(True, tuple(map(float, white))),
        tissue=tissue & (others | ~ink),
        ink=_in_one_piece(ink, tissue & (density.mean(axis=-1) > UNDER_INK)),
        void=void,
    )


def _is_like_glass(density: Plane, most: float) -> Mask:
    return (np.abs(density.mean(axis=-1)) <= most) & (np.ptp(density, axis=-1) <= TINT)


def _absorbs(density: Plane) -> Mask:
    mean, hue = density.mean(axis=-1), np.ptp(density, axis=-1)
    return np.asarray((mean > DENSITY) | ((hue > HUE) & (mean > HUE_ABSORBS * hue)))


def _ink(density: Plane) -> Mask:
    """Cells of ink, and those within two cells of it: strokes have soft edges."""
    if density.shape[-1] != 3:
        return np.zeros(density.shape[:2], bool)
    mean = density.mean(axis=-1)
    red, green, blue = np.moveaxis(density, -1, 0)
    uneven = np.max([_contrast(_plane(density, channel)) for channel in range(3)], axis=0)
    colored = (green < GREEN * np.minimum(red, blue)) | (red > BLUE * green)
    ink = ((mean > INK) & colored) | ((mean > DARK) & (uneven < FLAT * mean)) | (mean > OPAQUE)
    return _grown(cv2.erode(ink.astype(np.uint8), SQUARE) > 0, 3)


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


# --- dark ground -----------------------------------------------------------------------


def _on_dark(cells: Cells, pixel_noise: npt.NDArray[np.floating]) -> CellKinds:
    tissue = np.zeros(cells.shape[:2], bool)
    levels = []
    for channel, noise in enumerate(pixel_noise):
        level, shines = _shines(_plane(cells, channel), float(noise))
        levels.append(level)
        tissue |= shines
    void = _grown(_void(cells), 1) & ~tissue
    return CellKinds(Ground(False, tuple(levels)), tissue, np.zeros_like(tissue), void)


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
    return level, above > max(DEVIATIONS * _noise(above[ground]), FAINTEST)


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


def _void(cells: Cells) -> Mask:
    """Cells of pure black or white, whose neighbors are so, too."""
    pure = (cells == 0).all(axis=-1) | (cells == np.iinfo(cells.dtype).max).all(axis=-1)
    return cv2.erode(pure.astype(np.uint8), SQUARE) > 0


def _grown(mask: Mask, cells: int) -> Mask:
    square = np.ones((2 * cells + 1, 2 * cells + 1), np.uint8)
    return cv2.dilate(mask.astype(np.uint8), square) > 0


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
    for cells in WINDOWS_CELLS:
        count = _blurred(weight, cells) + np.float32(0.02)
        mean = (_blurred(plane * weight, cells) + np.float32(0.02) * mean) / count
    # Tukey's twicing: the mean of what the mean leaves, or slopes would look like tissue
    return mean + _blurred((plane - mean) * weight, cells) / count


def _blurred(plane: Plane, deviation: int) -> Plane:
    """A Gaussian mean; a wide one from means of squares, which makes no difference but in time."""
    step = max(1, deviation // 4)
    height, width = plane.shape
    small = cv2.resize(plane, (-(-width // step), -(-height // step)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), deviation / step, borderType=cv2.BORDER_REFLECT)
    return np.asarray(
        cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32
    )
