"""From stored pixel values to what the network sees, once per image or slide.

The range of each channel is taken from the whole image, never from a window:
windows normalized one by one would give a nucleus on a seam two appearances.
The same range serves training and prediction.
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


def to_channels(pixels: npt.NDArray[np.generic], channels: int) -> npt.NDArray[np.generic]:
    """Give (H, W, C) pixels the network's channel count: gray is repeated, colour is kept.

    Raises
    ------
    ValueError
        If a colour image is asked to become gray: that is a choice of channel
        or of weights which nobody but the user can make.
    """
    if pixels.shape[-1] == channels:
        return pixels
    if pixels.shape[-1] == 1:
        return np.repeat(pixels, channels, axis=-1)
    raise ValueError(f"{pixels.shape[-1]} channels cannot become {channels}")
