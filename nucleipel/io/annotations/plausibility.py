"""Can a label be an instance map? Its figures say, with the limits that stand here.

A label of classes, a picture, a map that was resized with interpolation or saved as a
photograph: all of them are whole numbers of the image's size, and all of them teach a
network that a nucleus is something else. On the 646 labels of DSB2018 and MoNuSeg that the
limits were set on (docs/troubleshooting.md), every figure stays far below them.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.annotations.map_counts import Ids, MapFigures, iter_figures
from nucleipel.io.slides.formats import StoredImage

log = logging.getLogger(__name__)

MOST_CLASSES = 16
FEWEST_PIECES = 3
"""A nucleus in two pieces is nothing unusual; each of them in three or more is."""
MASK_VALUE = 255
SCATTERED_SHARE = 0.1
"""Refused from this share of nucleus pixels outside of the largest piece of their id on;
0.003 is the most that real labels have."""
SCATTERED_PIECES = 10
ALIKE = 0.25
"""Pieces are nuclei where those of an id have at least this share of its largest one's area."""
MOST_PIECES = 20
"""Pieces of one id; 5 is the most that a nucleus of the real labels has."""
CONTACTS_PER_PX = 0.25
"""In gray levels each value lies beside others all along; a nucleus has more pixels than that."""
TINY_PX = 4
TINY_SHARE = 0.5
FEWEST_IDS = 10
BACKGROUND_SHARE = 0.5
MOST_TOUCHED = 8
"""Other ids that one id touches; 3 is the most in real labels."""
TIMES_LARGER = 50
"""Times the median area; 30 is the most in real labels."""

ReadPixels = Callable[[Box], npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Plausibility:
    """Why a label is no instance map ("" if it can be one), and what is odd about it.

    `splits` says whether the pieces of its ids may be the nuclei.
    """

    refusal: str = ""
    splits: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Sums:
    """Figures of all windows together."""

    ids: int = 0
    pieces: int = 0
    surplus: int = 0
    whole_px: int = 0
    largest_px: int = 0
    single: int = 0
    tiny: int = 0
    contacts: int = 0
    areas_px: int = 0
    pieces_of: Counter[int] = field(default_factory=Counter)
    """Pieces of the ids that are the most scattered of a window."""
    touched: tuple[int, int, int] = (0, 0, 0)
    """How many ids the busiest id touches, of how many others, and the id."""
    times: tuple[float, int, int] = (0.0, 0, 0)
    """The largest id's area in those of the median one, in px, and the id."""


def assess_map(
    read: Callable[[Box], Ids], shape: tuple[int, int], *, image: ReadPixels | None = None
) -> Plausibility:
    """Assess a map of shape (height, width), of which `read` gives the ids (h, w) of a box.

    `image` reads the gray pixels (h, w) of the image that was annotated, to compare them.
    """
    sums = _Sums()
    for box, ids, figures in iter_figures(read, shape):
        if not len(figures.ids):
            continue
        if image is not None and np.array_equal(image(box), ids):
            return Plausibility("holds the pixels of its own image; expected its instance map")
        image = None  # once is enough
        refused = _background(ids, figures) or _classes(figures)
        if refused:
            return refused
        _add(sums, figures)
    return (
        Plausibility() if sums.ids == 0 else _refused(sums) or Plausibility("", False, _odd(sums))
    )


def assess_ids(ids: Ids, *, image: ReadPixels | None = None) -> Plausibility:
    """Assess a map (H, W) that is held."""
    return assess_map(lambda box: ids[box.slices], (ids.shape[0], ids.shape[1]), image=image)


def gray_reader(image: StoredImage) -> ReadPixels | None:
    """What reads the pixels of an image to compare; None of one in color, or of many channels."""
    if len(image.channels) != 1:
        return None
    return lambda box: image.read(0, box)[..., 0]


def require_plausible(label: Path, assessed: Plausibility) -> None:
    """Log what is odd about a label.

    Raises
    ------
    ImageError
        If it is no instance map.
    """
    for odd in assessed.warnings:
        log.warning("%s: %s", label, odd)
    if assessed.refusal:
        number = "; to number the pieces: nucleipel import labels ... --set split_pieces=true"
        raise ImageError(f"{label}: {assessed.refusal}{number if assessed.splits else ''}")


def split_pieces(ids: Ids) -> npt.NDArray[np.int64]:
    """Each 8-connected piece of each id (H, W) as an id of its own, 1..n."""
    from skimage.measure import label  # takes a second to import

    numbered: npt.NDArray[np.int64] = label(ids, background=0, connectivity=2).astype(np.int64)
    return numbered


def _background(ids: Ids, figures: MapFigures) -> Plausibility | None:
    """An id that the background has, or a mask whose values are exchanged."""
    place = int(figures.areas.argmax())
    share = figures.areas[place] / figures.size_px
    if share <= BACKGROUND_SHARE:
        return None
    name, others = int(figures.ids[place]), len(figures.ids) - 1
    covers = f"id {name} covers {share:.0%} of the label"
    if others >= FEWEST_PIECES and figures.busiest == name and 2 * figures.touched > others:
        return Plausibility(
            f"{covers} and touches {figures.touched} of the {others} other ids: it is the"
            " background; expected 0 there"
        )
    holes = _holes(ids)
    if holes >= FEWEST_PIECES and others < holes:
        return Plausibility(
            f"{covers}, around {holes} holes: background and nuclei are exchanged;"
            " expected 0 for background"
        )
    return None


def _holes(ids: Ids) -> int:
    """Pieces of 0 that do not reach the edge."""
    count, _, boxes, _ = cv2.connectedComponentsWithStats((ids == 0).astype(np.uint8), None, 4)
    low, high = boxes[1:count, :2], boxes[1:count, :2] + boxes[1:count, 2:4]
    return int(((low > 0).all(axis=1) & (high < ids.shape[::-1]).all(axis=1)).sum())


def _classes(figures: MapFigures) -> Plausibility | None:
    """All nuclei have one id, or one a class, or gray levels."""
    ids, pieces = figures.ids, figures.pieces
    if len(ids) > MOST_CLASSES:
        return None
    alone = len(ids) == 1
    if pieces.min() < (2 if alone and ids[0] == MASK_VALUE else FEWEST_PIECES):
        return None
    if alone:
        what = f"one id, {ids[0]}, in {pieces[0]} pieces: a mask, not instances"
        return Plausibility(what, True)
    each = f"ids {', '.join(map(str, ids))}, each in {pieces.min()} pieces or more"
    gray = len(ids) > 3 and 2 * len(ids) < ids[-1] <= MASK_VALUE
    if gray or figures.contacts >= CONTACTS_PER_PX * figures.areas.sum():
        return Plausibility(f"{each}: gray levels, not instances; threshold them to a mask first")
    return Plausibility(f"{each}: classes, not instances", True)


def _add(sums: _Sums, figures: MapFigures) -> None:
    ids, areas, pieces = figures.ids, figures.areas, figures.pieces
    inside = figures.whole == areas  # no inner edge cuts them
    sums.ids += int((pieces > 0).sum())
    sums.pieces += int(pieces.sum())
    sums.surplus += int(np.maximum(pieces - 1, 0).sum())
    sums.whole_px += int(figures.whole.sum())
    sums.largest_px += int(figures.largest.sum())
    sums.single += int((inside & (areas == 1)).sum())
    sums.tiny += int((inside & (areas <= TINY_PX)).sum())
    sums.contacts += figures.contacts
    sums.areas_px += int(areas.sum())
    place = int(pieces.argmax())
    sums.pieces_of[int(ids[place])] += int(pieces[place])
    sums.touched = max(sums.touched, (figures.touched, len(ids) - 1, figures.busiest))
    place, median = int(areas.argmax()), float(np.median(areas))
    if len(ids) >= FEWEST_IDS:
        times = float(areas[place]) / median
        sums.times = max(sums.times, (times, int(areas[place]), int(ids[place])))


def _refused(sums: _Sums) -> Plausibility | None:
    name, pieces = sums.pieces_of.most_common(1)[0]
    touched, others, busiest = sums.touched
    alone = pieces >= MOST_PIECES and 4 * pieces >= 3 * sums.surplus
    scattered = None if alone else _scattered(sums)
    if scattered and not scattered.splits:
        return scattered
    if touched >= MOST_TOUCHED and 3 * touched >= 2 * others:
        return Plausibility(
            f"id {busiest} touches {touched} of the {others} other ids: a border or an ignored"
            " area, not a nucleus; expected 0 there"
        )
    if alone:
        return Plausibility(
            f"id {name} lies in {pieces} pieces, all {sums.ids} ids in {sums.pieces}: it is no"
            " nucleus; expected one id a nucleus"
        )
    if scattered:
        return scattered
    if sums.ids >= FEWEST_IDS and sums.tiny >= TINY_SHARE * sums.ids:
        return Plausibility(
            f"{sums.tiny} of {sums.ids} ids have {TINY_PX} px or less: points or noise, not"
            " outlines of nuclei"
        )
    return None


def _scattered(sums: _Sums) -> Plausibility | None:
    """Ids whose pieces lie apart: of a picture, or of several maps that were joined."""
    share = 1 - sums.largest_px / max(sums.whole_px, 1)
    name, pieces = sums.pieces_of.most_common(1)[0]
    many = sums.surplus >= SCATTERED_PIECES and share >= SCATTERED_SHARE
    if not many and pieces < MOST_PIECES:
        return None
    apart_px = (sums.whole_px - sums.largest_px) / sums.surplus
    as_large = apart_px >= ALIKE * sums.largest_px / sums.ids
    repeat = as_large and sums.contacts < CONTACTS_PER_PX * sums.areas_px
    reason = (
        "ids repeat; was it cut to 8 bits, or joined from parts?"
        if repeat
        else "was it resized with interpolation, smoothed, or saved as a photograph? Export the"
        " ids again, unchanged"
    )
    return Plausibility(
        f"{share:.0%} of its nuclei's pixels lie apart from the largest piece of their id"
        f" ({sums.ids} ids, {sums.pieces} pieces, {pieces} of id {name}): {reason}",
        repeat,
    )


def _odd(sums: _Sums) -> tuple[str, ...]:
    """What is no reason to refuse a label, but to look at it."""
    odd = []
    name, pieces = sums.pieces_of.most_common(1)[0]
    if sums.ids == 1 and pieces == 2:
        odd.append(f"one id, {name}, in 2 pieces; if it is a mask, import it with split_pieces")
    if pieces > MOST_PIECES // 3:
        odd.append(f"id {name} lies in {pieces} pieces")
    if sums.single >= 3 and 50 * sums.single >= sums.ids:
        odd.append(f"{sums.single} of {sums.ids} ids have one pixel; leave them out with import's"
                   " min_area_px")  # fmt: skip
    touched, others, name = sums.touched
    if touched > MOST_TOUCHED // 2 and 2 * touched > others:
        odd.append(f"id {name} touches {touched} of the {others} other ids; is it a nucleus?")
    times, area, name = sums.times
    if times >= TIMES_LARGER:
        odd.append(f"id {name} has {area} px, {times:.0f} times the median; is it a nucleus?")
    return tuple(odd)
