"""What an instance map consists of: the pieces of its ids, and which id touches the others.

A map is read in windows, so that one of any size costs the memory of one window. The
figures of a window are its own: a piece that one of its inner edges cuts is not counted as
a piece, since the rest of it is not seen.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucleipel.core.compiled import compiled, compiled_inner
from nucleipel.core.evenly_spaced import thin
from nucleipel.core.geometry import Box

WINDOW_PX = 2048
ENOUGH_NUCLEUS_PX = 2**25
"""Once so many pixels of nuclei were seen, the rest of a map is not read."""

Ids = npt.NDArray[np.integer]
Counts = npt.NDArray[np.int64]
Edges = tuple[bool, bool, bool, bool]


@dataclass(frozen=True, slots=True, eq=False)
class MapFigures:
    """Figures of a window, n ids in ascending order.

    Parameters
    ----------
    size_px : int
        Pixels of the window.
    ids, areas : (n,) int64
        The ids but 0, and their pixels.
    pieces, whole, largest : (n,) int64
        Of each id the 8-connected pieces that no inner edge cuts: how many, their
        pixels, and those of the largest.
    contacts : int
        How often a run of an id's pixels along a row lies beside another id, both counted.
    busiest : int
        The id that lies beside other ids most often, in half of all such places at
        least; 0 if there is none.
    touched : int
        How many other ids it touches.
    """

    size_px: int
    ids: Counts
    areas: Counts
    pieces: Counts
    whole: Counts
    largest: Counts
    contacts: int
    busiest: int
    touched: int


def iter_figures(
    read: Callable[[Box], Ids], shape: tuple[int, int], *, enough_px: int = ENOUGH_NUCLEUS_PX
) -> Iterator[tuple[Box, Ids, MapFigures]]:
    """Windows of a map of shape (height, width), with their ids and figures.

    They are spread over the map, first some at wide distances, then those between, and end
    when `enough_px` pixels of nuclei were seen.
    """
    tops, lefts = (range(0, length, WINDOW_PX) for length in shape)
    corners = [(top, left) for top in tops for left in lefts]
    seen = 0
    for top, left in _widely(corners):
        box = Box(top, left, top + WINDOW_PX, left + WINDOW_PX).clip(shape)
        inner = (box.y0 > 0, box.x0 > 0, box.y1 < shape[0], box.x1 < shape[1])
        ids = read(box)
        figures = measure_map(ids, inner=inner)
        yield box, ids, figures
        seen += int(figures.areas.sum())
        if seen >= enough_px:
            return


def _widely(corners: list[tuple[int, int]]) -> list[tuple[int, int]]:
    chosen: dict[tuple[int, int], None] = {}
    count = 1
    while len(chosen) < len(corners):
        count *= 4
        chosen.update(dict.fromkeys(thin(corners, count)))
    return list(chosen)


def measure_map(ids: Ids, *, inner: Edges = (False, False, False, False)) -> MapFigures:
    """Figures of ids (H, W), none of them negative.

    `inner` says of the top, left, bottom and right edge whether the map goes on there.
    """
    narrow = ids.dtype.kind == "b" or ids.dtype.itemsize < 8
    ids = np.ascontiguousarray(ids, np.uint32 if narrow else np.int64)
    values, sizes, cut, contacts = _pieces(ids, np.array(inner))
    if not len(values):
        none = np.zeros(0, np.int64)
        return MapFigures(ids.size, none, none, none, none, none, 0, 0, 0)
    order = np.argsort(values, kind="stable")
    values, sizes, cut, contacts = values[order], sizes[order], cut[order], contacts[order]
    first = np.flatnonzero(np.diff(values, prepend=0))
    whole = np.where(cut, 0, sizes)
    busiest, touched = _busiest(ids, values[first], np.add.reduceat(contacts, first))
    return MapFigures(
        size_px=ids.size,
        ids=values[first],
        areas=np.add.reduceat(sizes, first),
        pieces=np.add.reduceat(~cut, first, dtype=np.int64),
        whole=np.add.reduceat(whole, first),
        largest=np.maximum.reduceat(whole, first),
        contacts=int(contacts.sum()),
        busiest=busiest,
        touched=touched,
    )


def _busiest(ids: Ids, names: Counts, contacts: Counts) -> tuple[int, int]:
    place = int(contacts.argmax())
    if len(names) < 3 or contacts[place] == 0 or 4 * contacts[place] < contacts.sum():
        return 0, 0
    return int(names[place]), len(np.unique(_neighbors(ids, names[place])))


@compiled
def _neighbors(ids, name):  # type: ignore[no-untyped-def]
    """The ids above, below, left and right of the pixels of one, once a place."""
    height, width = ids.shape
    names = []  # type: ignore[var-annotated]
    for y in range(height):
        for x in range(width):
            if ids[y, x] == name:
                for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                    v, u = y + dy, x + dx
                    if 0 <= v < height and 0 <= u < width:
                        other = ids[v, u]
                        if other != 0 and other != name and (not names or names[-1] != other):
                            names.append(other)
    return np.array(names)


@compiled
def _pieces(ids, inner):  # type: ignore[no-untyped-def]
    """Find each piece: its id, its pixels, whether an inner edge cuts it, and its contacts."""
    height, width = ids.shape
    rows, starts, stops = _runs(ids)
    parents = np.arange(len(starts))
    contacts = np.zeros(len(starts), np.int64)
    for y in range(height):
        above = rows[y - 1] if y else rows[y]
        for run in range(rows[y], rows[y + 1]):
            value = ids[y, starts[run]]
            if run > rows[y] and stops[run - 1] == starts[run]:
                contacts[run] += 1
                contacts[run - 1] += 1
            while above < rows[y] and stops[above] < starts[run]:
                above += 1
            other = above
            while other < rows[y] and starts[other] <= stops[run]:
                if ids[y - 1, starts[other]] == value:
                    a, b = _root(parents, other), _root(parents, run)
                    parents[max(a, b)] = min(a, b)
                elif starts[other] < stops[run] and stops[other] > starts[run]:
                    contacts[run] += 1
                    contacts[other] += 1
                other += 1
    place = np.empty(len(starts), np.int64)
    values = np.empty(len(starts), np.int64)
    sizes = np.zeros(len(starts), np.int64)
    cut = np.zeros(len(starts), np.bool_)
    beside = np.zeros(len(starts), np.int64)
    count = 0
    for y in range(height):
        outside = (y == 0 and inner[0]) or (y == height - 1 and inner[2])
        for run in range(rows[y], rows[y + 1]):
            root = _root(parents, run)
            if root == run:  # the first run of a piece
                values[count] = ids[y, starts[run]]
                place[run] = count
                count += 1
            piece = place[root]
            place[run] = piece
            sizes[piece] += stops[run] - starts[run]
            beside[piece] += contacts[run]
            left, right = starts[run] == 0 and inner[1], stops[run] == width and inner[3]
            cut[piece] |= outside or left or right
    return values[:count], sizes[:count], cut[:count], beside[:count]


@compiled_inner
def _runs(ids):  # type: ignore[no-untyped-def]
    """Runs of one id but 0 along the rows: where those of each row begin, and their ends."""
    height, width = ids.shape
    rows = np.zeros(height + 1, np.int64)
    for y in range(height):
        count = np.int64(ids[y, 0] != 0) if width else 0
        for x in range(1, width):
            count += (ids[y, x] != ids[y, x - 1]) & (ids[y, x] != 0)
        rows[y + 1] = rows[y] + count
    starts, stops = np.empty(rows[-1], np.int32), np.empty(rows[-1], np.int32)
    for y in range(height):
        run, before = rows[y], ids[0, 0] * 0
        if rows[y] == rows[y + 1]:
            continue
        for x in range(width):
            value = ids[y, x]
            if value != before:
                if before != 0:
                    stops[run] = x
                    run += 1
                if value != 0:
                    starts[run] = x
                before = value
        if before != 0:
            stops[run] = width
    return rows, starts, stops


@compiled_inner
def _root(parents, run):  # type: ignore[no-untyped-def]
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run
