"""Settings of how maps become nuclei. Defaults: `InstanceRule`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from nucleipel.config.settings import NotNegative, Settings, Share
from nucleipel.instances.rule import InstanceRule

_RULE = InstanceRule()
ForegroundPercent = Annotated[int, Field(ge=1, le=99)]
Percent = Annotated[int, Field(ge=0, le=100)]
DistancePx = Annotated[int, Field(ge=1, le=255)]
SmoothPx = Annotated[float, Field(gt=0, le=32)]
CalibratedNumber = Literal[
    "foreground_percent",
    "fill_holes_px",
    "distance_percent",
    "smooth_px",
    "persistence",
    "concave_persistence",
    "solidity_gain_percent",
    "min_area_px",
    "min_probability_percent",
]


class InstanceConfig(Settings):
    """How a probability map becomes nuclei."""

    foreground_percent: ForegroundPercent = _RULE.foreground_percent
    """Share of interior + boundary above which a pixel is nucleus."""
    fill_holes_px: NotNegative = _RULE.fill_holes_px
    """Largest hole (area) that is filled."""
    distance_px: DistancePx = _RULE.distance_px
    """Distance to the background beyond which a pixel is no more central (maps without one)."""
    distance_percent: Percent = _RULE.distance_percent
    """Share of the distance in the height that tells nuclei apart; the interior has the rest."""
    smooth_px: SmoothPx = _RULE.smooth_px
    """Standard deviation of the smoothing of heights."""
    persistence: Share = _RULE.persistence
    """How far a peak must stand above its saddle to be a nucleus; higher splits less."""
    concave_persistence: Share = _RULE.concave_persistence
    """The same, lower, for two parts that are not one convex shape; from persistence on unused."""
    solidity_gain_percent: Percent = _RULE.solidity_gain_percent
    """By how much these must be more solid (area over that of the convex hull) than together."""
    min_area_px: NotNegative = _RULE.min_area_px
    """Smaller nuclei are dropped."""
    min_probability_percent: Percent = _RULE.min_probability_percent
    """Nuclei whose mean probability is lower are dropped."""


class InstanceOverrides(Settings):
    """As `InstanceConfig`; what is not given stays as the checkpoint has it."""

    foreground_percent: ForegroundPercent | None = None
    fill_holes_px: NotNegative | None = None
    distance_px: DistancePx | None = None
    distance_percent: Percent | None = None
    smooth_px: SmoothPx | None = None
    persistence: Share | None = None
    concave_persistence: Share | None = None
    solidity_gain_percent: Percent | None = None
    min_area_px: NotNegative | None = None
    min_probability_percent: Percent | None = None

    def over(self, calibrated: Mapping[str, Any]) -> dict[str, Any]:
        """The checkpoint's numbers, with those given here instead."""
        return {**calibrated, **self.model_dump(exclude_none=True)}
