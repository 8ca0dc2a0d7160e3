"""Resampling of any region to any pixel size, exact to the bit.

An output pixel is a weighted mean of input pixels. Its weights depend on its
own index and on the image's length alone, never on the region that is read, and
they are integers: sums of integers have no rounding that the order of
addition could change. So a window read alone equals the same window of the
whole resampled image, on any machine.

Axes are taken one after the other, (y, x). Along an axis, output pixel i
covers `[i * ratio, (i + 1) * ratio)` of the input:

- `ratio >= 1`: the mean of what it covers, each input pixel by its share;
- `ratio < 1`: linear interpolation between pixel centers, at `(i + 1/2) * ratio`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucleipel.core.compiled import compiled

ONE = 2**16
"""The sum of an output pixel's weights along one axis: 16 + 16 + 16 bits of pixel fit in 63."""
SUMMED_BY_NUMPY = 2**26
"""So many values a process sums by NumPy, in .3 to 2 s, before it imports numba, in 1 s."""
AT_A_TIME = 2**20
"""Values of which NumPy makes integers of 64 bits at a time."""


@dataclass(frozen=True, slots=True)
class Taps:
    """For n output pixels: the first input pixel of each (n,), and the weights (n, k) from it."""

    first: npt.NDArray[np.int64]
    weights: npt.NDArray[np.int64]

    @property
    def start(self) -> int:
        """First input pixel that any of them uses."""
        return int(self.first[0])

    @property
    def stop(self) -> int:
        """One past the last input pixel that any of them uses."""
        used = self.weights.shape[1] - np.argmax(self.weights[:, ::-1] > 0, axis=1)
        return int((self.first + used).max())


def taps(start: int, stop: int, *, ratio: float, length: int) -> Taps:
    """Weights of the `length` input pixels in outputs `start..stop-1`, `ratio` inputs an output.

    >>> taps(0, 2, ratio=1.5, length=3).weights.tolist()
    [[43691, 21845], [21845, 43691]]
    """
    index = np.arange(start, stop, dtype=np.float64)
    if ratio < 1:
        return _linear_taps((index + 0.5) * ratio - 0.5, length)
    low = np.minimum(index * ratio, length - 1)
    high = np.clip((index + 1) * ratio, low + 1e-6, length)
    first = np.floor(low).astype(np.int64)
    count = int((np.ceil(high).astype(np.int64) - first).max())
    edges = first[:, None] + np.arange(count + 1)
    share = (np.clip(edges, low[:, None], high[:, None]) - low[:, None]) / (high - low)[:, None]
    return Taps(first, np.diff(np.rint(share * ONE).astype(np.int64), axis=1))


def _linear_taps(center: npt.NDArray[np.float64], length: int) -> Taps:
    center = np.clip(center, 0, length - 1)
    first = np.minimum(np.floor(center), max(length - 2, 0)).astype(np.int64)
    second = np.rint((center - first) * ONE).astype(np.int64)
    return Taps(first, np.stack([ONE - second, second], axis=1)[:, : min(length, 2)])


def resample(pixels: npt.NDArray[np.generic], rows: Taps, columns: Taps) -> npt.NDArray[np.generic]:
    """Weighted means (h, w, C) of integer pixels (H, W, C), in their dtype (uint8 or uint16).

    `pixels` starts at (`rows.start`, `columns.start`) of the input image and
    holds at least what the taps use.
    """
    if _means_by_numpy.values + pixels.size <= SUMMED_BY_NUMPY:
        return _means_by_numpy(pixels, rows, columns)
    out = np.empty((len(rows.first), len(columns.first), pixels.shape[2]), pixels.dtype)
    _weighted_means(
        np.ascontiguousarray(pixels),
        rows.first - rows.start,
        rows.weights,
        columns.first - columns.start,
        columns.weights,
        out,
    )
    return out


class _MeansByNumpy:
    """The integers of `_weighted_means`, added up in another order; counts the values summed."""

    def __init__(self) -> None:
        self.values = 0

    def __call__(
        self, pixels: npt.NDArray[np.generic], rows: Taps, columns: Taps
    ) -> npt.NDArray[np.generic]:
        """See `resample`."""
        self.values += pixels.size
        out = np.empty((len(rows.first), len(columns.first), pixels.shape[2]), pixels.dtype)
        step = max(1, len(out) * AT_A_TIME // pixels.size)
        for y in range(0, len(out), step):
            band = Taps(rows.first[y : y + step], rows.weights[y : y + step])
            read = pixels[band.start - rows.start : band.stop - rows.start]
            lines = _weighted_sums(read.astype(np.int64), band)
            sums = _weighted_sums(lines.swapaxes(0, 1), columns).swapaxes(0, 1)
            out[y : y + step] = (sums + 2**31) >> 32
        return out


_means_by_numpy = _MeansByNumpy()


def _weighted_sums(values: npt.NDArray[np.int64], taps: Taps) -> npt.NDArray[np.int64]:
    """Weighted sums (n, ...) along the first axis of (L, ...) values."""
    first, last = taps.first - taps.start, len(values) - 1
    sums = np.zeros((len(first), *values.shape[1:]), np.int64)
    for index, weights in enumerate(taps.weights.T):
        sums += weights[:, None, None] * values[np.minimum(first + index, last)]
    return sums


def centers(start: int, stop: int, *, ratio: float, length: int) -> npt.NDArray[np.int64]:
    """The input pixel under the center of each output pixel, where ids are read.

    >>> centers(0, 3, ratio=2.0, length=6).tolist()
    [1, 3, 5]
    """
    index = np.floor((np.arange(start, stop) + 0.5) * ratio).astype(np.int64)
    return np.clip(index, 0, length - 1)


@compiled
def _weighted_means(pixels, row_first, row_weights, column_first, column_weights, out):  # type: ignore[no-untyped-def]
    height, width, channels = out.shape
    line = np.empty((pixels.shape[1], channels), np.int64)
    for y in range(height):
        line[:] = 0
        for k in range(row_weights.shape[1]):
            weight = row_weights[y, k]
            if weight:
                source = pixels[row_first[y] + k]
                for x in range(source.shape[0]):
                    for c in range(channels):
                        line[x, c] += weight * source[x, c]
        for x in range(width):
            for c in range(channels):
                total = np.int64(0)
                for k in range(column_weights.shape[1]):
                    weight = column_weights[x, k]
                    if weight:
                        total += weight * line[column_first[x] + k, c]
                out[y, x, c] = (total + (np.int64(1) << 31)) >> 32
