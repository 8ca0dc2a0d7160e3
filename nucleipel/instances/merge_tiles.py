"""Labels of overlapping tiles as one instance map, by a rule that no order changes.

The pieces of two tiles that overlap are one nucleus if they agree where both
tiles see them: IoU of at least `min_iou` there. Each set of such pieces is one
nucleus. Its shape is that of the piece farthest from the borders of its tile; if
every piece touches a border inside the image, as of a nucleus wider than the
overlap, it is all of them together. Where nuclei still overlap, the one that was
seen farther from a border keeps the pixels; one that loses more than half of
them is a duplicate and is dropped.

Ties are broken by area, then by place. So the map depends on the tiles and not
on their order; and tiles that are cut from one map give this map back, whatever
their size, as long as they overlap.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

from nucleipel.core.geometry import Box
from nucleipel.instances.table_of_map import in_raster_order

ALL_AROUND = 2**31
"""Distance to the border of a tile that ends nowhere inside the image."""


@dataclass(frozen=True, slots=True)
class LabeledTile:
    """An (h, w) instance map of integers, and its place on the image."""

    labels: npt.NDArray[np.integer]
    y0: int
    x0: int

    @property
    def box(self) -> Box:
        """Where it lies."""
        return Box.of_shape((self.labels.shape[0], self.labels.shape[1])).shift(self.y0, self.x0)


@dataclass(frozen=True)
class MergedTiles:
    """The (H, W) uint32 map, ids 1..n in raster order, and what was done.

    `facts`: `tiles`, `pieces`, `nuclei`, `joined` (nuclei of several pieces), `dropped`
    (duplicates), `ambiguous` (nuclei that hold two pieces of one tile), `disputed_px` (pixels
    that the tiles above them do not give to one nucleus).
    """

    map: npt.NDArray[np.uint32]
    facts: dict[str, int]


@dataclass(frozen=True)
class _Pieces:
    """The pieces of all tiles, one row each: tile, id there, area, distance to a border, place."""

    rows: npt.NDArray[np.int64]
    boxes: list[Box]
    first: npt.NDArray[np.int64]

    @property
    def tile(self) -> npt.NDArray[np.int64]:
        return self.rows[:, 0]

    @property
    def is_cut(self) -> npt.NDArray[np.bool_]:
        return self.rows[:, 3] == 0


def merge_tiles(
    tiles: Iterable[LabeledTile], shape: tuple[int, int], *, min_iou: float = 0.5
) -> MergedTiles:
    """Merge tiles on an image of shape (height, width)."""
    tiles = _in_order([LabeledTile(in_raster_order(t.labels), t.y0, t.x0) for t in tiles])
    pieces = _list_pieces(tiles, shape)
    nucleus = _join(tiles, pieces, min_iou)
    ranked = _rank(pieces, nucleus)
    merged, dropped = np.zeros(shape, np.uint32), 0
    for number, members in enumerate(ranked, start=1):
        box, mask = _shape_of(tiles, pieces, members)
        part = merged[box.slices]
        free = mask & (part == 0)
        if 2 * np.count_nonzero(free) < np.count_nonzero(mask):
            dropped += 1
        else:
            part[free] = number
    facts = {
        "tiles": len(tiles),
        "pieces": len(pieces.boxes),
        "nuclei": len(ranked) - dropped,
        "joined": sum(len(members) > 1 for members in ranked),
        "dropped": dropped,
        "ambiguous": sum(len(set(pieces.tile[list(m)].tolist())) < len(m) for m in ranked),
        "disputed_px": _disputed(tiles, pieces, nucleus, shape),
    }
    return MergedTiles(in_raster_order(merged), facts)


def _in_order(tiles: Sequence[LabeledTile]) -> list[LabeledTile]:
    """Sort tiles by place and size; two at one place by what they hold."""

    def key(tile: LabeledTile) -> tuple[object, ...]:
        return tile.y0, tile.x0, *tile.labels.shape, hashlib.sha256(tile.labels.tobytes()).digest()

    return sorted(tiles, key=key)


def _list_pieces(tiles: Sequence[LabeledTile], shape: tuple[int, int]) -> _Pieces:
    rows, boxes, first = [np.zeros((0, 4), np.int64)], [], [0]
    for number, tile in enumerate(tiles):
        slices = ndimage.find_objects(tile.labels.astype(np.int64))
        own = [Box(r.start, c.start, r.stop, c.stop).shift(tile.y0, tile.x0) for r, c in slices]
        areas = np.bincount(tile.labels.ravel(), minlength=len(own) + 1)[1:]
        margins = [_margin(box, tile.box, shape) for box in own]
        ids = np.arange(1, len(own) + 1)
        rows.append(np.stack([np.full(len(own), number), ids, areas, margins], axis=1))
        boxes += own
        first.append(first[-1] + len(own))
    return _Pieces(np.concatenate(rows).astype(np.int64), boxes, np.array(first))


def _margin(box: Box, tile: Box, shape: tuple[int, int]) -> int:
    """Distance from a box to the nearest border of its tile that lies inside the image."""
    sides = (
        (box.y0 - tile.y0, tile.y0 > 0),
        (box.x0 - tile.x0, tile.x0 > 0),
        (tile.y1 - box.y1, tile.y1 < shape[0]),
        (tile.x1 - box.x1, tile.x1 < shape[1]),
    )
    return min((distance for distance, inside in sides if inside), default=ALL_AROUND)


def _join(tiles: Sequence[LabeledTile], pieces: _Pieces, min_iou: float) -> npt.NDArray[np.integer]:
    """The nucleus (n,) that each piece belongs to."""
    pairs = [np.zeros((0, 2), np.int64)]
    corners = np.array([(t.box.y0, t.box.x0, t.box.y1, t.box.x1) for t in tiles]).reshape(-1, 4)
    for one, tile in enumerate(tiles):
        box, later = tile.box, corners[one + 1 :]
        meets = (later[:, 0] < box.y1) & (later[:, 2] > box.y0)
        meets &= (later[:, 1] < box.x1) & (later[:, 3] > box.x0)
        for other in (np.flatnonzero(meets) + one + 1).tolist():
            same = _same(tile, tiles[other], min_iou)
            pairs.append(same - 1 + pieces.first[[one, other]])
    joined, count = np.concatenate(pairs), len(pieces.boxes)
    graph = sparse.coo_array((np.ones(len(joined), bool), joined.T), shape=(count, count))
    return sparse.csgraph.connected_components(graph, directed=False)[1]


def _same(one: LabeledTile, other: LabeledTile, min_iou: float) -> npt.NDArray[np.int64]:
    """Pairs (k, 2) of ids that agree where two tiles overlap."""
    a, b = one.box, other.box
    both = Box(max(a.y0, b.y0), max(a.x0, b.x0), min(a.y1, b.y1), min(a.x1, b.x1))
    left = one.labels[both.shift(-one.y0, -one.x0).slices].astype(np.int64)
    right = other.labels[both.shift(-other.y0, -other.x0).slices].astype(np.int64)
    width = int(right.max(initial=0)) + 1
    keys, shared = np.unique(left * width + right, return_counts=True)
    ids = np.stack([keys // width, keys % width], axis=1)
    areas = [np.bincount(side.ravel(), minlength=1) for side in (left, right)]
    union = areas[0][ids[:, 0]] + areas[1][ids[:, 1]] - shared
    return ids[(shared >= min_iou * union) & (ids > 0).all(axis=1)]


def _rank(pieces: _Pieces, nucleus: npt.NDArray[np.integer]) -> list[list[int]]:
    """The pieces of each nucleus, the best first; nuclei by their best pieces."""
    _, _, area, margin = pieces.rows.T
    place = np.array([(box.y0, box.x0) for box in pieces.boxes]).reshape(-1, 2).T
    tile, own = pieces.rows[:, 0], pieces.rows[:, 1]
    order = np.lexsort((own, tile, place[1], place[0], -area, -margin))
    groups: dict[int, list[int]] = {}
    for piece in order.tolist():
        groups.setdefault(int(nucleus[piece]), []).append(piece)
    return list(groups.values())


def _shape_of(
    tiles: Sequence[LabeledTile], pieces: _Pieces, members: Sequence[int]
) -> tuple[Box, npt.NDArray[np.bool_]]:
    """The box and the pixels of a nucleus."""
    cut = pieces.is_cut[members[0]]  # then all of them are
    shown = members if cut else members[:1]
    boxes = [pieces.boxes[piece] for piece in shown]
    box = Box(
        min(b.y0 for b in boxes), min(b.x0 for b in boxes),
        max(b.y1 for b in boxes), max(b.x1 for b in boxes),
    )  # fmt: skip
    mask = np.zeros(box.shape, bool)
    for piece, own in zip(shown, boxes, strict=True):
        tile = tiles[int(pieces.tile[piece])]
        labels = tile.labels[own.shift(-tile.y0, -tile.x0).slices]
        mask[own.shift(-box.y0, -box.x0).slices] |= labels == pieces.rows[piece, 1]
    return box, mask


def _disputed(
    tiles: Sequence[LabeledTile],
    pieces: _Pieces,
    nucleus: npt.NDArray[np.integer],
    shape: tuple[int, int],
) -> int:
    """Pixels that two tiles above them give to different nuclei, or one of them to none."""
    low, high = np.full(shape, len(pieces.boxes) + 1, np.int64), np.full(shape, -1, np.int64)
    for number, tile in enumerate(tiles):
        own = nucleus[pieces.first[number] : pieces.first[number + 1]].astype(np.int64) + 1
        ids: Any = np.append(0, own)[tile.labels]
        np.minimum(low[tile.box.slices], ids, out=low[tile.box.slices])
        np.maximum(high[tile.box.slices], ids, out=high[tile.box.slices])
    return int(np.count_nonzero((high >= 0) & (low != high)))
