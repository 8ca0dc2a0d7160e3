"""A pixel size as a file states it: in micrometers, or why it is none."""

from dataclasses import dataclass
from typing import Any

from nucleipel.io.slides.formats.units import um_per_unit


@dataclass(frozen=True, slots=True)
class StatedMpp:
    """A pixel size in um, height and width, and where in the file it stands."""

    y: float
    x: float
    where: str

    def __str__(self) -> str:
        square = abs(self.y - self.x) <= 1e-9 * self.x
        return f"{self.x:.4g}" if square else f"{self.y:.4g} x {self.x:.4g}"


@dataclass(frozen=True, slots=True)
class PixelSizes:
    """Every pixel size that a file states, the most trustworthy first.

    `unread` has a sentence for each that cannot be used: "OME-XML says 0.5
    'furlong', no unit of length that is known".
    """

    known: tuple[StatedMpp, ...] = ()
    unread: tuple[str, ...] = ()

    def __add__(self, other: "PixelSizes") -> "PixelSizes":
        return PixelSizes(self.known + other.known, self.unread + other.unread)


def says(where: str) -> str:
    """A source as the subject of a sentence: "OME-XML says", "resolution tags say"."""
    return f"{where} {'say' if where.endswith('tags') else 'says'}"


def stated_size(y: Any, x: Any, units: tuple[str, str], *, where: str) -> PixelSizes:
    """The size of a pixel (numbers or text) in `units` (of y, of x); `where` names the source."""
    shown = f"{y}" if y == x else f"{y} x {x}"
    for unit in units:
        if um_per_unit(unit) is None:
            what = f"'{unit}', no unit of length that is known" if unit else "without a unit"
            return PixelSizes(unread=(f"{says(where)} {shown} {what}",))
    sizes = [
        _number(size) * (um_per_unit(unit) or 0) for size, unit in zip((y, x), units, strict=True)
    ]
    if not all(0 < size < float("inf") for size in sizes):
        return PixelSizes(unread=(f"{says(where)} {shown}, no pixel size",))
    return PixelSizes((StatedMpp(sizes[0], sizes[1], where),))


def _number(text: Any) -> float:
    try:
        return float(str(text).replace(",", "."))
    except ValueError:
        return float("nan")
