"""Settings of how maps become nuclei, and how these are scored. Defaults: `InstanceRule`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from nucleipel.config.reading import PredictConfig, ReadConfig, TileConfig
from nucleipel.config.settings import NotNegative, Positive, Settings, Share
from nucleipel.instances.rule import InstanceRule

_RULE = InstanceRule()
ForegroundPercent = Annotated[int, Field(ge=1, le=99)]
Percent = Annotated[int, Field(ge=0, le=100)]
DistancePx = Annotated[int, Field(ge=1, le=255)]
SmoothPx = Annotated[float, Field(gt=0, le=32)]


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


class StitchConfig(Settings):
    """Settings of `nucleipel stitch`."""

    map_frame: Literal["level0", "working"] = "level0"
    """Pixels that nuclei are written in: those of level 0 of the image, or of the working mpp."""
    intensities: bool = True
    """Whether each nucleus' intensities are measured, for which the image must be there."""
    csv: bool = False
    """Whether nuclei.csv is written beside nuclei.parquet."""
    geojson: Literal["plain", "gz", "none"] = "plain"
    """Whether nuclei.geojson is written, and whether compressed."""

    threads: Positive = 2
    """Threads that solve blocks, in each process that stitches."""
    max_ram_gb: Annotated[float, Field(gt=0)] | None = None
    """Memory that stitching may take, in each process that stitches; picks the size of the blocks,
    never the result."""
    instances: InstanceOverrides = InstanceOverrides()

    def identity(self) -> dict[str, object]:
        """What shapes the result; here the threads do not."""
        return {key: value for key, value in super().identity().items() if key != "threads"}


class SegmentConfig(PredictConfig, StitchConfig):
    """Settings of `nucleipel segment`: those of `predict` and of `stitch`."""

    keep_predictions: bool = False
    """Whether the probability maps stay in OUT/predictions.zarr."""


class PlanConfig(SegmentConfig):
    """Settings of `nucleipel plan`: those of `segment`, and of `tile` in a group."""

    tile: TileConfig = TileConfig()
    """How annotated images are tiled; what it does not say of reading is as above."""

    def tiling(self) -> TileConfig:
        """The settings of `tile`, those of reading filled in."""
        shared = {
            name: getattr(self, name)
            for name in ReadConfig.model_fields
            if name not in self.tile.model_fields_set
        }
        return self.tile.model_copy(update=shared)


class CalibrateConfig(PredictConfig):
    """Settings of `nucleipel calibrate`: the numbers that are tried, beside the checkpoint's own.

    One after another is set to the value of best score, then any two together to
    values next to theirs, again and again until none gains more. A number with
    nothing to try stays as it is.
    """

    measures: Annotated[tuple[Literal["pq", "aji", "dice"], ...], Field(min_length=1)] = ("pq",)
    """What is sought, pooled over all nuclei; of several their mean. PQ alone drops doubtful nuclei
    and thin rims, which Dice and AJI miss."""

    balance_by: str = ""
    """Column of the manifest, a modality say, whose values count alike: the mean of their pooled
    scores is what is sought. Without it, those with the most nuclei decide."""

    foreground_percent: tuple[ForegroundPercent, ...] = (
        30, 40, 50, 55, 60, 65, 70, 75, 80, 85, 90,
    )  # fmt: skip
    fill_holes_px: tuple[NotNegative, ...] = (0, 64, 1000)
    distance_percent: tuple[Percent, ...] = (0, 25, 50, 75, 100)
    smooth_px: tuple[SmoothPx, ...] = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
    persistence: tuple[Share, ...] = (
        0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3,
    )  # fmt: skip
    concave_persistence: tuple[Share, ...] = (0.005, 0.01, 0.02, 0.04, 1.0)
    solidity_gain_percent: tuple[Percent, ...] = (2, 4, 6, 8)
    min_area_px: tuple[NotNegative, ...] = (5, 10, 15, 20, 30, 40, 60, 90)
    min_probability_percent: tuple[Percent, ...] = (
        0, 60, 70, 75, 80, 84, 88, 92, 95,
    )  # fmt: skip
    rounds: Positive = 8
    """At most this many times through all numbers."""

    def candidates(self) -> dict[str, tuple[float, ...]]:
        """Values to try of each number."""
        tried = type(self).model_fields
        return {name: getattr(self, name) for name in InstanceConfig.model_fields if name in tried}


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


class EvaluateConfig(Settings):
    """Settings of `nucleipel evaluate`."""

    ap_thresholds: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)
    ] = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
    """IoU from which a predicted nucleus counts as found, one AP each."""
