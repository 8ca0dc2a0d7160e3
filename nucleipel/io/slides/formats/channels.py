"""The names of channels, and three of them as the red, green and blue of one picture."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.stored_image import GRAY, RGB, Level, Pixels, StoredImage

INITIALS = ("r", "g", "b")


def name_channels(names: Sequence[str], count: int) -> tuple[str, ...]:
    """A name for each of `count` channels: its index where it has none.

    Three channels named red, green and blue (or R, G, B) are `RGB`: color that is stored as
    planes.
    """
    if count == 1:
        return GRAY
    plain = tuple(str(name).strip() for name in [*names[:count], *[""] * (count - len(names))])
    if tuple(map(_plain, plain)) in (RGB, INITIALS):
        return RGB
    return tuple(name or str(index) for index, name in enumerate(plain))


def as_rgb(image: StoredImage) -> StoredImage:
    """Show an image as one picture in color, of its channels named so or of all three in order.

    Raises
    ------
    ImageError
        If it has neither.
    """
    if image.is_color:
        return image
    order = _color_order(image.channels)
    if order is None:
        raise ImageError(
            f"{image.path}: has {len(image.channels)} channel(s); expected three, or three named"
            " red, green and blue, for --channel rgb; choose one channel"
        )
    levels = tuple(
        Level(level.shape, level.downsample, _picked(level.load, order)) for level in image.levels
    )
    names = ", ".join(image.channels[index] for index in order)
    return replace(
        image,
        levels=levels,
        channels=RGB,
        photometric=f"channels {names}, read as RGB",
        source=replace(image.source, as_color=True),
    )


def _color_order(names: tuple[str, ...]) -> list[int] | None:
    plain = [_plain(name) for name in names]
    for wanted in (RGB, INITIALS):
        if all(plain.count(name) == 1 for name in wanted):
            return [plain.index(name) for name in wanted]
    return [0, 1, 2] if len(names) == 3 else None


def _plain(name: str) -> str:
    """Without case, and without what programs put around a color's name."""
    return name.casefold().removeprefix("channel").removesuffix("channel").strip(" :_-")


def _picked(load: Callable[[Box], Pixels], order: list[int]) -> Callable[[Box], Pixels]:
    # contiguous: as three samples of one pixel are
    return lambda box: np.ascontiguousarray(load(box)[..., order])
