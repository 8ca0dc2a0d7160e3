"""Settings of `nucleipel evaluate`."""

from typing import Annotated

from pydantic import Field

from nucleipel.config.settings import Settings


class EvaluateConfig(Settings):
    """Settings of `nucleipel evaluate`."""

    ap_thresholds: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)
    ] = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
    """IoU from which a predicted nucleus counts as found, one AP each."""
