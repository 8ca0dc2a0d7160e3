"""The numbers that shape nuclei, and what they become in integers."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple, get_args, get_type_hints

import numpy as np
import numpy.typing as npt

FULL_HEIGHT = 255 * 256
WEIGHT_BITS = 10
DROPPED_BITS = 6
"""Dropped between the two passes of the smoothing, so that heights stay below 2**31."""
FRACTION_BITS = 2 * WEIGHT_BITS - DROPPED_BITS
"""Bits that the smoothing adds to the 16 of a height."""
SOLIDITY_BITS = 16
"""Fraction bits of a solidity in integers."""


@dataclass(frozen=True, slots=True)
class Range:
    """The least and the largest value of a number."""

    low: float
    high: float


Percent = Annotated[int, Range(0, 100)]
Share = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(0, 2**31)]


@dataclass(frozen=True, slots=True)
class InstanceRule:
    """The numbers that shape nuclei; lengths and areas in pixels of the working mpp.

    What they mean, their ranges and defaults stand here only: the settings of
    stages are generated from them (`nucleipel.config.pipeline.instances`).

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    foreground_percent: Annotated[int, Range(1, 99)] = 50
    """Share of interior + boundary against background above which a pixel is nucleus."""
    fill_holes_px: Count = 64
    """Largest hole (area) that is filled."""
    distance_px: Annotated[int, Range(1, 255)] = 15
    """Distance to the background beyond which a pixel is no more central; only for maps without a
    distance channel."""
    distance_percent: Percent = 75
    """Share of the distance in the height that separates nuclei: the map's fourth channel, or the
    distance to the background where it has none. The probability of interior has the rest."""
    smooth_px: Annotated[float, Range(0, 32)] = 1.0
    """Standard deviation of the smoothing of heights; 0 for none."""
    persistence: Share = 0.08
    """Height, in fractions of the full one, by which a peak must stand above its saddle to be a
    nucleus of its own; higher splits less."""
    concave_persistence: Share = 1.0
    """Persistence, lower, of two parts that are not one convex shape; without effect from
    `persistence` on."""
    solidity_gain_percent: Percent = 5
    """Two parts are not one convex shape if they are more solid than their union (area over that of
    the convex hull) by so much, weighed by area, and neither is smaller than `min_area_px`."""
    min_area_px: Count = 10
    """Nuclei smaller than this are dropped."""
    min_probability_percent: Percent = 0
    """Nuclei whose mean probability (of not being background) is below this are dropped."""

    def __post_init__(self) -> None:
        for name, (_, bounds) in NUMBERS.items():
            value = getattr(self, name)
            if not bounds.low <= value <= bounds.high:
                raise ValueError(f"{name} {value}; expected {bounds.low}..{bounds.high}")


NUMBERS: dict[str, tuple[type, Range]] = {
    name: get_args(hint) for name, hint in get_type_hints(InstanceRule, include_extras=True).items()
}
"""Type and range of each number of an `InstanceRule`."""


class IntegerRule(NamedTuple):
    """An `InstanceRule` as the solver takes it: tables and integers, so that nothing is rounded.

    A named tuple, which numba compiles.

    Parameters
    ----------
    distance_height : (distance_px**2 + 1,) int32
        Height for each squared distance to the background.
    channel_height : (256,) int32
        Height for each value of the map's own distance channel.
    interior_height : (256,) int32
        Height for each interior probability; with one of the other two it adds
        up to at most `FULL_HEIGHT`.
    weights : (r + 1,) int32
        Weights of offsets 0..r of a symmetric kernel that sums to 2**`WEIGHT_BITS`.
    persistence, concave_persistence : int
        In units of a smoothed height: `FULL_HEIGHT` << `FRACTION_BITS` is 1.
    solidity_gain : int
        In 2**-`SOLIDITY_BITS`.
    """

    foreground_percent: int
    fill_holes_px: int
    distance_px: int
    distance_height: npt.NDArray[np.int32]
    channel_height: npt.NDArray[np.int32]
    interior_height: npt.NDArray[np.int32]
    weights: npt.NDArray[np.int32]
    persistence: int
    concave_persistence: int
    solidity_gain: int
    min_area_px: int
    min_probability_percent: int

    @classmethod
    def of(cls, rule: InstanceRule) -> "IntegerRule":
        """The integers of a rule."""
        limit2 = rule.distance_px**2
        share = rule.distance_percent / 100
        central = np.sqrt(np.arange(limit2 + 1) / limit2) * share * FULL_HEIGHT
        channel = np.arange(256) / 255 * share * FULL_HEIGHT
        interior = np.arange(256) / 255 * (1 - share) * FULL_HEIGHT
        return cls(
            foreground_percent=rule.foreground_percent,
            fill_holes_px=rule.fill_holes_px,
            distance_px=rule.distance_px,
            distance_height=np.floor(central).astype(np.int32),
            channel_height=np.floor(channel).astype(np.int32),
            interior_height=np.floor(interior).astype(np.int32),
            weights=_gaussian_weights(rule.smooth_px),
            persistence=round(rule.persistence * (FULL_HEIGHT << FRACTION_BITS)),
            concave_persistence=round(rule.concave_persistence * (FULL_HEIGHT << FRACTION_BITS)),
            solidity_gain=round(rule.solidity_gain_percent / 100 * 2**SOLIDITY_BITS),
            min_area_px=max(rule.min_area_px, 1),
            min_probability_percent=rule.min_probability_percent,
        )


def _gaussian_weights(sigma_px: float) -> npt.NDArray[np.int32]:
    offsets = np.arange(int(np.ceil(3 * sigma_px)) + 1)
    shape = np.exp(-0.5 * (offsets / max(sigma_px, 1e-9)) ** 2)
    weights = np.rint(shape / (2 * shape.sum() - shape[0]) * 2**WEIGHT_BITS).astype(np.int32)
    weights[0] = 2**WEIGHT_BITS - 2 * weights[1:].sum()
    return weights
