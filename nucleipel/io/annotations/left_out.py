"""Which objects are no nuclei, whatever the format: they are counted, named and left out.

People draw regions, tiles, areas to ignore, whole cells and arrows into the files that
hold their nuclei. An object counts by its kind and the names of its classes; its size
only raises a question.
"""

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from nucleipel.errors import ImageError
from nucleipel.io.annotations.polygons import Polygons
from nucleipel.io.annotations.rasterize import contains

log = logging.getLogger(__name__)

NO_NUCLEI = re.compile(
    r".*\*|(ignored?|excluded?|void|background|unlabell?ed|artifacts?|artefacts?|roi|"
    r"regions?|regions? of interest|tissue|tiles?|patch(es)?|crops?|fov|fields? of view|grid|"
    r"cytoplasms?|membranes?|whole[ _-]cells?|subcellular .*)[\s_#-]*\d*"
)
CELLS = re.compile(r"cells?")
NUCLEI = re.compile(r".*\bnucle(us|i|ar)\b.*")
TIMES_LARGER = 20
"""An object of so many times the median area is warned of."""
TIMES_HELD = 4
"""So is one that holds two others and has so many times the median area."""
FEWEST = 5
MOST_CANDIDATES = 200
LARGEST_MEDIAN_PX2 = 20_000
IN_CORNER = 0.6
SMALL_PX2 = 100
MOST_NAMED = 5


def is_no_nucleus(names: Iterable[str]) -> str:
    """The class, one of `names`, that says that an object is no nucleus; "" if none does."""
    return next((name for name in names if NO_NUCLEI.fullmatch(name.casefold())), "")


def cells_beside_nuclei(names_of: Sequence[Collection[str]]) -> list[bool]:
    """Which of some objects are whole cells, by their class, in a file that has nuclei too."""
    folded = [[name.casefold() for name in names] for names in names_of]
    if not any(NUCLEI.fullmatch(name) for names in folded for name in names):
        return [False] * len(folded)
    return [any(CELLS.fullmatch(name) for name in names) for names in folded]


def report_left_out(path: Path, left_out: Counter[str], *, kept: int, needed: bool = True) -> None:
    """Log in one line what was left out, by kind.

    Raises
    ------
    ImageError
        If no nucleus is `kept`, and one is `needed`: an image of which no region says that
        it was annotated may not have been annotated at all.
    """
    listed = ", ".join(f"{count} {what}" for what, count in left_out.most_common())
    if kept:
        if left_out:
            log.warning("%s: left out, as no nuclei: %s", path, listed)
        return
    if left_out:
        raise ImageError(f"{path}: holds no nuclei, but {listed}; expected outlines of nuclei")
    if needed:
        raise ImageError(
            f"{path}: holds no nuclei; leave it out, or draw the region in which there are none"
        )


def question_sizes(
    path: Path, areas: Polygons, names: Sequence[str], shape: tuple[int, int]
) -> None:
    """Warn of objects that are hardly nuclei by their sizes; `names` are theirs, in order.

    Areas of an image of shape (height, width) which all lie in a corner and are small may
    be in micrometers.
    """
    sizes = areas.sizes()
    if len(sizes) == 0:
        return
    median = float(np.median(sizes))
    if median >= LARGEST_MEDIAN_PX2:
        log.warning("%s: the median object has %.0f px; are they nuclei?", path, median)
    if len(sizes) < FEWEST:
        return
    order = np.argsort(-sizes, kind="stable")[:MOST_CANDIDATES]
    centers = areas.centers()
    odd = []
    for place in order[sizes[order] >= TIMES_HELD * median].tolist():
        held = int(contains(areas.take(np.array([place])), centers).sum()) - 1
        if held >= 2 or sizes[place] >= TIMES_LARGER * median:
            what = f" and holds {held} others" if held >= 2 else ""
            odd.append(f"{names[place]} has {sizes[place]:.0f} px{what}")
    if odd:
        more = f", and {len(odd) - MOST_NAMED} more" if len(odd) > MOST_NAMED else ""
        log.warning(
            "%s: the median object has %.0f px, but %s%s; is it a nucleus?",
            path, median, ", ".join(odd[:MOST_NAMED]), more,
        )  # fmt: skip
    reach = areas.boxes[:, 2:].max(axis=0) / np.array(shape)
    if (reach <= IN_CORNER).all() and median <= SMALL_PX2:
        log.warning(
            "%s: all %d objects lie in the upper left %.0f %% of the image's sides, and the median"
            " has %.0f px: are they in micrometers? Expected pixels of level 0",
            path, len(sizes), 100 * reach.max(), median,
        )  # fmt: skip
