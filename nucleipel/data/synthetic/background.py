"""The ground of a generated slide: glass in transmitted light, or the dark of fluorescence.

A ground turns amounts into pixels, as a camera does. On bright ground an
amount is the share of light that is absorbed (0 glass, 1 black); on dark ground
it is emitted light (0 nothing, 1 a bright nucleus). Noise is drawn once, on a
square of `PERIOD_PX`, and repeated: pixels depend on their place only, and a
box of bare ground equals the one `PERIOD_PX` further.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box

Amount = npt.NDArray[np.float32]
PERIOD_PX = 2048
FRAME_PX = 1024
"""Side of a camera frame: scanners take a slide frame by frame."""
GRAIN_PX = 1.0
"""A scanner's noise is that smooth: finer noise does not survive JPEG."""


class Ground(Protocol):
    """The ground of a slide."""

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Type of the pixels: uint8 or uint16."""

    @property
    def channels(self) -> int:
        """Number of channels, 1 or 3."""

    @property
    def is_dark(self) -> bool:
        """Return whether amounts are emitted, not absorbed."""

    @property
    def repeats(self) -> bool:
        """Return whether bare ground repeats every `PERIOD_PX`."""

    def over(self, amount: Amount, other: Amount) -> Amount:
        """The amount of two things that lie on each other."""

    def expose(self, amount: Amount, box: Box, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """The (h, w, C) pixels of a box of a slide of (height, width) px, from its amounts."""


@dataclass(frozen=True)
class BrightGround:
    """Glass: the white of an H&E or IHC slide, 8 bit RGB.

    Parameters
    ----------
    white : float
        Gray level of clean glass.
    tint : tuple of float
        What is added to it in red, green and blue.
    noise : float
        Standard deviation of glass in gray levels; JPEG keeps about all of it.
    vignetting : float
        Share of light that is lost in the corners of each camera frame.
    frame_steps : float
        Standard deviation, in gray levels, of the brightness of frames.
    gradient : float
        Share of light that is lost from the left to the right edge of the
        slide. With it ground does not repeat, and a slide is slow to write.
    seed : int
        Of the noise.
    """

    white: float = 243.0
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)
    noise: float = 1.5
    vignetting: float = 0.0
    frame_steps: float = 0.0
    gradient: float = 0.0
    seed: int = 0

    dtype = np.dtype(np.uint8)
    channels = 3
    is_dark = False

    @property
    def repeats(self) -> bool:
        """Return whether bare ground repeats every `PERIOD_PX`."""
        return self.gradient == 0

    @cached_property
    def _noise(self) -> Amount:
        # most of it is common to the channels, as in the luma of a JPEG
        common, own = (_grain((self.seed, kind), channels) for kind, channels in ((1, 1), (2, 3)))
        return np.float32(self.noise) * (0.9 * common + np.float32(0.19**0.5) * own)

    @cached_property
    def _light(self) -> Amount:
        shading = _frames(self.vignetting, self.frame_steps / self.white, self.seed)
        white = np.float32(self.white) + np.asarray(self.tint, np.float32)
        return shading[..., None] * white

    def over(self, amount: Amount, other: Amount) -> Amount:
        """Light passes through both."""
        return 1 - (1 - amount) * (1 - other)

    def expose(self, amount: Amount, box: Box, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """The (h, w, 3) uint8 pixels of a box, from what is absorbed there."""
        light = _periodic(self._light, box)
        if self.gradient:
            light = light * _falling(self.gradient, box, shape)
        seen = light * (1 - amount) + _periodic(self._noise, box)
        return np.rint(seen.clip(0, 255)).astype(np.uint8)


@dataclass(frozen=True)
class DarkGround:
    """A camera in the dark: fluorescence of 8 or 16 bit, 1 or 3 channels.

    Parameters
    ----------
    channels : int
        1 (gray) or 3.
    bits : int
        8 or 16.
    offset : float
        Gray level of no light.
    signal : float
        Gray levels that a bright nucleus lies above it.
    noise : float
        Standard deviation of the read noise, in gray levels.
    shot_noise : float
        Variance of the light's own noise per gray level of light.
    vignetting : float
        Share of light that is lost in the corners of each camera frame.
    haze : float
        Light that is everywhere, as a share of `signal`; vignetting shows in it.
    gradient : float
        Share of the haze that is lost from the left to the right edge of the
        slide. With it ground does not repeat, and a slide is slow to write.
    hot_pixels : float
        Share of the camera's pixels that are always bright: the same in each frame.
    seed : int
        Of noise and hot pixels.
    """

    channels: int = 1
    bits: int = 16
    offset: float = 100.0
    signal: float = 1500.0
    noise: float = 4.0
    shot_noise: float = 0.5
    vignetting: float = 0.0
    haze: float = 0.0
    gradient: float = 0.0
    hot_pixels: float = 0.0
    seed: int = 0

    is_dark = True

    @classmethod
    def of_8_bit(cls, channels: int = 1, *, seed: int = 0) -> "DarkGround":
        """Ground as 8 bit images have it: 6 +- 1, nuclei up to the top."""
        return cls(channels, 8, offset=6, signal=170, noise=1.0, shot_noise=0.05, seed=seed)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Type of the pixels."""
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16)

    @property
    def repeats(self) -> bool:
        """Return whether bare ground repeats every `PERIOD_PX`."""
        return self.gradient == 0 or self.haze == 0

    @cached_property
    def _noise(self) -> Amount:
        draw = np.random.default_rng((self.seed, 3))
        return draw.standard_normal((PERIOD_PX, PERIOD_PX, self.channels), np.float32)

    @cached_property
    def _light(self) -> Amount:
        return _frames(self.vignetting, 0.0, self.seed)[..., None]

    @cached_property
    def _hot(self) -> Amount:
        draw = np.random.default_rng((self.seed, 4))
        frame = np.where(
            draw.random((FRAME_PX, FRAME_PX)) < self.hot_pixels,
            self.signal * draw.uniform(0.5, 3, (FRAME_PX, FRAME_PX)),
            0,
        )
        repeats = PERIOD_PX // FRAME_PX
        return np.tile(frame.astype(np.float32), (repeats, repeats))[..., None]

    def over(self, amount: Amount, other: Amount) -> Amount:
        """Light adds up."""
        return amount + other

    def expose(self, amount: Amount, box: Box, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """The (h, w, C) pixels of a box, from what is emitted there."""
        haze = np.float32(self.haze) * _falling(self.gradient, box, shape)
        light = _periodic(self._light, box) * (amount + haze) * np.float32(self.signal)
        spread = np.sqrt(np.float32(self.noise**2) + np.float32(self.shot_noise) * light)
        seen = np.float32(self.offset) + light + spread * _periodic(self._noise, box)
        if self.hot_pixels:
            seen = seen + _periodic(self._hot, box)
        return np.rint(seen.clip(0, np.iinfo(self.dtype).max)).astype(self.dtype)


def _periodic(plane: Amount, box: Box) -> Amount:
    """A box of a (PERIOD_PX, PERIOD_PX, C) plane that is repeated without end."""
    y, x = box.y0 % PERIOD_PX, box.x0 % PERIOD_PX
    height, width = box.shape
    if y + height <= PERIOD_PX and x + width <= PERIOD_PX:
        return plane[y : y + height, x : x + width]
    rows, columns = np.arange(y, y + height) % PERIOD_PX, np.arange(x, x + width) % PERIOD_PX
    return plane[np.ix_(rows, columns)]


def _falling(gradient: float, box: Box, shape: tuple[int, int]) -> Amount:
    """Light (1, w, 1) that falls from 1 at the left edge of a slide by `gradient` to the right."""
    columns = np.arange(box.x0, box.x1, dtype=np.float32) / np.float32(shape[1])
    return (1 - np.float32(gradient) * columns).astype(np.float32)[None, :, None]


def _grain(seed: tuple[int, int], channels: int) -> Amount:
    """Noise of unit variance, `GRAIN_PX` smooth, without a seam where it is repeated."""
    draw = np.random.default_rng(seed)
    margin = 8
    noise = draw.standard_normal((PERIOD_PX, PERIOD_PX, channels), np.float32)
    around = np.pad(noise, [(margin, margin), (margin, margin), (0, 0)], mode="wrap")
    smooth = cv2.GaussianBlur(around, None, GRAIN_PX).reshape(*around.shape)
    smooth = smooth[margin:-margin, margin:-margin]
    return smooth / smooth.std()


def _frames(vignetting: float, steps: float, seed: int) -> npt.NDArray[np.float32]:
    """Brightness of the camera's frames, (PERIOD_PX, PERIOD_PX), 1 in the middle of a frame."""
    place = (np.arange(FRAME_PX, dtype=np.float32) + 0.5) / FRAME_PX * 2 - 1
    frame = 1 - np.float32(vignetting / 2) * (place[:, None] ** 2 + place**2)
    repeats = PERIOD_PX // FRAME_PX
    gains = 1 + steps * np.random.default_rng((seed, 5)).standard_normal((repeats, repeats))
    return np.kron(gains, frame).astype(np.float32)
