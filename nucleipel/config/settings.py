"""The base of all settings. Defaults live in their classes, those of nuclei in `InstanceRule`.

Lengths in pixels (`_px`) are in pixels of the working mpp.
"""

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

S = TypeVar("S", bound="Settings")
Precision = Literal["auto", "float32", "bfloat16"]
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]
Mpp = Annotated[float, Field(ge=0.01, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
WITHOUT_EFFECT_ON_RESULTS = frozenset(
    {"device", "workers", "jobs", "max_ram_gb", "keep_predictions"}
)


class Settings(BaseModel):
    """Frozen settings; unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    def identity(self) -> dict[str, object]:
        """Settings that shape the result: all but `WITHOUT_EFFECT_ON_RESULTS`."""
        return self.model_dump(mode="json", exclude=set(WITHOUT_EFFECT_ON_RESULTS))

    def part(self, kind: type[S]) -> S:
        """Take those settings that another stage has too."""
        return kind.model_validate(self.model_dump(include=set(kind.model_fields)))
