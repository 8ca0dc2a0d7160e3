"""Arguments of the Python API: checked before any work, one clear message each."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from nucleipel.config import settings_from
from nucleipel.errors import ArgumentError

C = TypeVar("C", bound=BaseModel)

SHORT_FOR = {"mpp": "source_mpp", "max_ram": "max_ram_gb"}
"""Words of the command line for settings that have a longer name."""


def require_image(image: Any, *, channel: int | str | None = None) -> Any:
    """An (H, W) or (H, W, C) array of uint8 or uint16, as it was given or as NumPy has it.

    Raises
    ------
    ArgumentError
        If the shape, the dtype or the number of channels is another.
    """
    image = require_array(image, "image")
    shape = tuple(int(length) for length in image.shape)
    if len(shape) not in (2, 3) or 0 in shape:
        raise ArgumentError(f"image: shape {shape}; expected (H, W) or (H, W, C)")
    _require_pixels(image, np.dtype(image.dtype))
    channels = shape[2] if len(shape) == 3 else 1
    if channels in (1, 3) or channel is not None:
        return image
    if shape[0] <= 4 < channels:
        raise ArgumentError(
            f"image: shape {shape}, channels first; expected (H, W, C): np.moveaxis(image, 0, -1)"
        )
    alpha = " or, if the last one is transparency, pass image[..., :3]" if channels == 4 else ""
    raise ArgumentError(
        f"image: {channels} channels; expected 1 or 3 (red, green, blue); choose one with"
        f" channel=0..{channels - 1}{alpha}"
    )


def require_labels(labels: Any, name: str) -> npt.NDArray[np.integer]:
    """An (H, W) instance map of integers: 0 for background, 1..n for nuclei.

    Raises
    ------
    ArgumentError
        If the shape or the dtype is another, or an id is negative or too large.
    """
    labels = np.asarray(require_array(labels, name))
    if labels.ndim != 2 or labels.size == 0:
        raise ArgumentError(f"{name}: shape {labels.shape}; expected an instance map (H, W)")
    if labels.dtype.kind not in "ui":
        more = " (a mask has no ids: number its pieces)" if labels.dtype == bool else ""
        raise ArgumentError(
            f"{name}: {labels.dtype}{more}; expected integers, 0 for background and 1..n for nuclei"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= 2**32:
        raise ArgumentError(
            f"{name}: holds the id {low if low < 0 else high}; expected 0 for background and ids"
            " below 2^32 for nuclei"
        )
    return labels


def as_path(value: Any, name: str) -> Path:
    """A path.

    Raises
    ------
    ArgumentError
        If it is something else, an array say.
    """
    if not isinstance(value, str | Path):
        raise ArgumentError(f"{name}: {type(value).__name__}; expected a path")
    return Path(value)


def require_array(values: Any, name: str) -> Any:
    """An array as it was given, or as NumPy has it.

    Raises
    ------
    ArgumentError
        If NumPy makes none of it.
    """
    if hasattr(values, "shape") and hasattr(values, "dtype"):
        return values
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ArgumentError(f"{name}: no array: {error}") from error


def require_mpp(mpp: float | None, name: str = "mpp") -> None:
    """Check a pixel size.

    Raises
    ------
    ArgumentError
        If it is no number of micrometers per pixel.
    """
    number = isinstance(mpp, int | float | np.number) and not isinstance(mpp, bool)
    if mpp is not None and not (number and math.isfinite(mpp) and mpp > 0):
        raise ArgumentError(f"{name}: {mpp!r}; expected micrometers per pixel, above 0, or None")


def settings_of(
    kind: type[C],
    values: Mapping[str, Any],
    *,
    function: str,
    config: Path | str | None = None,
    shorts: Mapping[str, str] = SHORT_FOR,
) -> C:
    """The settings of a stage from keywords; those that are None are not set.

    `shorts` are words that stand for a setting of another name.

    Raises
    ------
    ConfigError
        If there is no such setting, or a value does not fit.
    """
    for name in ("mpp", "at_mpp"):
        require_mpp(values.get(name), name)
    named = {
        shorts.get(name, name): _plain(value) for name, value in values.items() if value is not None
    }
    file = None if config is None else as_path(config, "config")
    return settings_from(kind, named, where=f"{function}()", file=file)


def _require_pixels(image: Any, dtype: np.dtype[Any]) -> None:
    if dtype in (np.uint8, np.uint16):
        return
    fix = "expected uint8 or uint16, as microscopes store pixels"
    in_memory = isinstance(image, np.ndarray)
    if dtype.kind == "f":
        if in_memory and not np.isfinite(image).all():
            raise ArgumentError(f"image: {dtype} with NaN or infinite values; {fix}")
        if in_memory and image.min() < 0:
            raise ArgumentError(f"image: {dtype} with negative values ({image.min():g}); {fix}")
        raise ArgumentError(
            f"image: {dtype}; {fix}; of values in 0..1: (255 * image).round().astype('uint8')"
        )
    if dtype.kind == "i" and in_memory and image.min() < 0:
        raise ArgumentError(f"image: {dtype} with negative values ({image.min()}); {fix}")
    if dtype.kind in "iu":
        raise ArgumentError(f"image: {dtype}; {fix}: image.astype('uint8') or 'uint16'")
    raise ArgumentError(f"image: {dtype}; {fix}")


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def own_scale(working_mpp: float | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Keep an image at its own scale, where neither the model nor `settings` say how to see it.

    A part of an image, on its own, might be seen at another scale than the next one.
    """
    is_open = working_mpp is None and not {"at_mpp", "scale"} & set(settings)
    return {"scale": 1.0} if is_open else {}
