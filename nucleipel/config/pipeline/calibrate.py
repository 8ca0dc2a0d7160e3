"""Settings of `nucleipel calibrate`."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from nucleipel.config.pipeline.instances import number_type, settings_of
from nucleipel.config.pipeline.predict import PredictConfig
from nucleipel.config.settings import Positive

CANDIDATES: dict[str, tuple[float, ...]] = {
    "foreground_percent": (30, 40, 50, 55, 60, 65, 70, 75, 80, 85, 90),
    "fill_holes_px": (0, 64, 1000),
    "distance_percent": (0, 25, 50, 75, 100),
    "smooth_px": (0.5, 1.0, 1.5, 2.0, 3.0, 4.0),
    "persistence": (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3),
    "concave_persistence": (0.005, 0.01, 0.02, 0.04, 1.0),
    "solidity_gain_percent": (2, 4, 6, 8),
    "min_area_px": (5, 10, 15, 20, 30, 40, 60, 90),
    "min_probability_percent": (0, 60, 70, 75, 80, 84, 88, 92, 95),
}
"""Numbers of the instance rule that can be calibrated, and the values that are tried."""

if TYPE_CHECKING:
    CalibratedNumber = str
else:
    CalibratedNumber = Literal[tuple(CANDIDATES)]


class Objective(PredictConfig):
    """The scores that a calibration maximizes, on maps that are predicted as usual."""

    measures: Annotated[tuple[Literal["pq", "aji", "dice"], ...], Field(min_length=1)] = ("pq",)
    """Scores pooled over all nuclei; of several their mean is maximized. PQ alone drops doubtful
    nuclei and thin rims, which Dice and AJI miss."""

    balance_by: str = ""
    """Column of the manifest, a modality say, whose values count alike: the mean of their pooled
    scores is maximized. Without it, those with the most nuclei decide."""


_Candidates: Any = settings_of(
    {name: (tuple[number_type(name), ...], values) for name, values in CANDIDATES.items()},  # type: ignore[misc]
    base=Objective,
)


class CalibrateConfig(_Candidates):  # type: ignore[misc]
    """Settings of `nucleipel calibrate`: the numbers that are tried besides the checkpoint's own.

    One after another is set to the value of best score, then any two together to
    values next to theirs, again and again until none gains more. A number with
    nothing to try stays as it is.
    """

    rounds: Positive = 8
    """At most this many times through all numbers."""

    stained: bool = False
    """Choose the numbers for stained tissue alone, on the images of it. Other images keep theirs.
    Without it the numbers hold for all images."""

    def candidates(self) -> dict[str, tuple[float, ...]]:
        """Values to try of each number."""
        return {name: getattr(self, name) for name in CANDIDATES}
