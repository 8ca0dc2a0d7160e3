"""From stored pixel values to what the network sees, once per image or slide.

The range of each channel is taken once for the whole image, never from a window:
windows normalized one by one would give a nucleus on a seam two appearances.
The same range serves training and prediction. Where its pixels come from is in
`nucleipel.io.slides.intensity_range`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LOW_PERCENTILE = 1.0
HIGH_PERCENTILE = 99.8


@dataclass(frozen=True, slots=True)
class IntensityRange:
    """Per channel, the stored values that become 0 and 1."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of_pixels(cls, pixels: npt.NDArray[np.generic]) -> "IntensityRange":
        """Percentiles 1 and 99.8 of each channel of (..., C) pixels.

        A constant channel gets a range of one gray level, so that it becomes
        0 everywhere instead of noise or NaN.
        """
        flat = pixels.reshape(-1, pixels.shape[-1])
        low, high = np.percentile(
            flat.astype(np.float32), [LOW_PERCENTILE, HIGH_PERCENTILE], axis=0
        )
        high = np.maximum(high, low + 1)
        return cls(tuple(map(float, low)), tuple(map(float, high)))

    def repeated(self, channels: int) -> "IntensityRange":
        """The range of the same image after `to_channels`."""
        if len(self.low) == channels:
            return self
        return IntensityRange(self.low * channels, self.high * channels)

    def normalize(self, pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """Map (H, W, C) stored values to float32 in [0, 1], clipped."""
        low = np.asarray(self.low, np.float32)
        high = np.asarray(self.high, np.float32)
        return np.clip((pixels.astype(np.float32) - low) / (high - low), 0, 1)


@dataclass(frozen=True, slots=True)
class RangeRule:
    """A rule for the range of a slide.

    `percentiles` of its tissue become 0 and 1; or `fixed`, which is the same for
    every slide, whatever its tissue.
    """

    percentiles: tuple[float, float] = (LOW_PERCENTILE, HIGH_PERCENTILE)
    fixed: IntensityRange | None = None

    def describe(self) -> str:
        """Name what a range is taken from."""
        low, high = self.percentiles
        return f"percentiles {low:g} and {high:g} of tissue" if self.fixed is None else "settings"


OF_TISSUE = RangeRule()


class ValueCounts:
    """Counts of each stored value in each channel, of any number of pixels.

    `counts` is (C, values) int64, with 256 values of uint8 and 65,536 of uint16.
    Counts are added, so that no pixel is kept and no order matters.
    """

    def __init__(self, channels: int, dtype: npt.DTypeLike) -> None:
        self.counts = np.zeros((channels, np.iinfo(np.dtype(dtype)).max + 1), np.int64)

    def add(
        self, pixels: npt.NDArray[np.integer], weights: npt.NDArray[np.integer] | None = None
    ) -> None:
        """Count the pixels (n, C), each as often as its weight (n,) says: once, if none does."""
        for channel, counts in enumerate(self.counts):
            counted = np.bincount(pixels[:, channel], weights, minlength=len(counts))
            counts += counted.astype(np.int64)

    @property
    def pixels(self) -> int:
        """Number of pixels that were counted."""
        return int(self.counts[0].sum())

    def percentile(self, percent: float) -> npt.NDArray[np.float64]:
        """A percentile (C,) of each channel, interpolated as `np.percentile` does.

        >>> counts = ValueCounts(1, np.uint8)
        >>> counts.add(np.array([[10], [20], [30]], np.uint8))
        >>> counts.percentile(75).tolist()
        [25.0]
        """
        place = percent / 100 * max(self.pixels - 1, 0)
        below, above = int(np.floor(place)), int(np.ceil(place))
        ranks = np.cumsum(self.counts, axis=1)
        values = [np.searchsorted(rank, [below, above], side="right") for rank in ranks]
        low, high = np.array(values, np.float64).T
        return np.asarray(low + (place - below) * (high - low))


def to_channels(pixels: npt.NDArray[np.generic], channels: int) -> npt.NDArray[np.generic]:
    """Give (H, W, C) pixels the network's channel count: gray is repeated, color is kept.

    Raises
    ------
    ValueError
        If a color image is asked to become gray: that is a choice of channel
        or of weights which nobody but the user can make.
    """
    if pixels.shape[-1] == channels:
        return pixels
    if pixels.shape[-1] == 1:
        return np.repeat(pixels, channels, axis=-1)
    raise ValueError(f"{pixels.shape[-1]} channels cannot become {channels}")
