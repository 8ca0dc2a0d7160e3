"""The images that one file holds, and which of them is read.

A slide's file also holds small pictures of its label and of the whole glass; a
file of several scenes, positions or wells holds several images. The one image
that is no such picture is read; where there are more, the user says which.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nucleipel.errors import ImageError

log = logging.getLogger(__name__)

MOST_LISTED = 8
ELSEWHERE = "in another file"
PICTURE = re.compile(
    r"(?<![a-z])(label|macro|thumb|thumbnail|overview|barcode|preview)([ _-]?image)?(?![a-z])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Series:
    """One of the images of a file.

    Parameters
    ----------
    name : str
        "" for one without.
    shape : (height, width) in px, optional
    aside : str
        Why it is not read unless the user asks for it ("a macro", "in another
        file"); "" for an image.
    """

    name: str
    shape: tuple[int, int] | None = None
    aside: str = ""

    @property
    def pixels(self) -> int:
        """Number of its pixels, 0 if that is not known."""
        return 0 if self.shape is None else self.shape[0] * self.shape[1]


def picture_of_slide(name: str) -> str:
    """Name a series that shows no tissue: "a label", "a macro", ...; "" for anything else."""
    match = PICTURE.search(name)
    return f"a {match[1].lower()}" if match else ""


def choose_series(path: Path, held: Sequence[Series], wanted: int | str | None) -> int:
    """Index of the image that is read, of those that a file holds (at least one).

    Without a wish, that is the only one that is no picture of the label or the
    glass; of several, where the first is such a picture, the largest.

    Raises
    ------
    ImageError
        If there is no such series, or the user has to choose.
    """
    if wanted is not None:
        return _wanted(path, held, wanted)
    images = [index for index, series in enumerate(held) if not series.aside]
    images = images or list(range(len(held)))
    largest = max(images, key=lambda index: held[index].pixels)
    alone = sum(held[index].pixels == held[largest].pixels for index in images) == 1
    if len(images) > 1 and not (held[0].aside and alone):
        raise ImageError(
            f"{path}: holds {len(images)} images; choose one with --series (or the manifest's"
            f" column series): {listed(held)}"
        )
    if any(series.aside != ELSEWHERE for series in held[:largest]):
        _say_once(f"{path}: series {largest} is read, of {listed(held)}")
    return largest


def _wanted(path: Path, held: Sequence[Series], wanted: int | str) -> int:
    if isinstance(wanted, int) and 0 <= wanted < len(held):
        return wanted
    name = str(wanted)
    matches = [i for i, series in enumerate(held) if series.name == name] or [
        i for i, series in enumerate(held) if series.name.casefold() == name.casefold()
    ]
    if len(matches) != 1:
        number = "several series" if matches else "no series"
        raise ImageError(f"{path}: has {number} '{wanted}'; it has {listed(held)}")
    return matches[0]


def listed(held: Sequence[Series]) -> str:
    """The series in words: "0 'macro' (64 x 96 px, a macro), 1 'slide' (256 x 256 px)"."""
    words = []
    for index, series in enumerate(held[:MOST_LISTED]):
        size = f"{series.shape[0]} x {series.shape[1]} px" if series.shape else ""
        about = ", ".join(word for word in (size, series.aside) if word)
        name = f" '{series.name}'" if series.name else ""
        words.append(f"{index}{name}" + (f" ({about})" if about else ""))
    more = len(held) - len(words)
    return ", ".join(words) + (f" and {more} more" if more else "")


@cache
def _say_once(line: str) -> None:
    """Each stage opens an image several times."""
    log.warning("%s", line)
