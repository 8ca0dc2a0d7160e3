"""Settings of `nucleipel calibrate`."""

from typing import Annotated, Literal

from pydantic import Field

from nucleipel.config.pipeline.instances import ForegroundPercent, InstanceConfig, Percent, SmoothPx
from nucleipel.config.pipeline.predict import PredictConfig
from nucleipel.config.settings import NotNegative, Positive, Share


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
