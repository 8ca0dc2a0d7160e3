"""Settings that turn maps into nuclei, generated from the numbers of an `InstanceRule`."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, create_model

from nucleipel.config.settings import Settings
from nucleipel.instances.instance_rule import NUMBERS, InstanceRule

DEFAULTS = InstanceRule()


def number_type(name: str) -> Any:
    """The type of a number of the rule, with its range, as pydantic takes it."""
    kind, bounds = NUMBERS[name]
    return Annotated[kind, Field(ge=bounds.low, le=bounds.high)]


def settings_of(fields: Mapping[str, tuple[Any, Any]], base: type[Settings] = Settings) -> Any:
    """A class of settings with these fields, each a type and a default, after those of `base`."""
    return create_model("Numbers", __base__=base, **fields)  # type: ignore[call-overload]


_Numbers: Any = settings_of(
    {name: (number_type(name), getattr(DEFAULTS, name)) for name in NUMBERS}
)
_SomeNumbers: Any = settings_of({name: (number_type(name) | None, None) for name in NUMBERS})


class InstanceConfig(_Numbers):  # type: ignore[misc]
    """Numbers that turn a probability map into nuclei; `InstanceRule` documents each."""


class InstanceOverrides(_SomeNumbers):  # type: ignore[misc]
    """Numbers of the `InstanceRule` that replace the checkpoint's; the others stay as they are."""

    def over(self, calibrated: Mapping[str, Any]) -> dict[str, Any]:
        """The checkpoint's numbers, replaced where this has others."""
        return {**calibrated, **self.model_dump(exclude_none=True)}
