"""The frame of the outputs: nuclei of the working resolution, drawn at another one.

Contours are smooth (`smooth_contours.py`). In a finer frame ids, their order and
their number are those of the working map. In a coarser one (an image that was
enlarged for the network) a nucleus may be left without a pixel. Such a nucleus is
dropped from every output, the others are numbered anew without gaps, in the same
order.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.resample import centers
from nucleipel.instances.smooth_contours import REACH_PX, SmoothContours

BLOCK_PX = 1024
BLOCKS_HELD = 8
"""Blocks of `BLOCK_PX` that are kept; of larger ones fewer."""


class OutputMap:
    """The (H, W) uint32 instance map in the frame of the outputs, computed part by part.

    Parameters
    ----------
    working : (h, w) uint32 array
        NumPy, zarr or `ComposedMap`, of ids 0..`nuclei`. A few of its blocks are kept decoded;
        those that it does not `hold`, if it can say so, are not read.
    shape : (H, W), optional
        Shape of the drawn map; that of `working` if None.
    ratio : float
        Pixels of the drawn map per working pixel, along an axis.
    kept : (n,) bool, optional
        As the attribute, where it is known.

    Attributes
    ----------
    kept : (n,) bool
        Whether a nucleus has a pixel in the drawn map.
    """

    dtype = np.dtype(np.uint32)

    def __init__(
        self,
        working: Any,
        *,
        nuclei: int,
        shape: tuple[int, int] | None = None,
        ratio: float = 1.0,
        kept: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.shape = shape or (int(working.shape[0]), int(working.shape[1]))
        self.ratio = ratio
        self._working = working
        self._places = (
            centers(0, self.shape[0], ratio=1 / ratio, length=working.shape[0]),
            centers(0, self.shape[1], ratio=1 / ratio, length=working.shape[1]),
        )
        self._contours: SmoothContours | None = None
        if ratio != 1:
            self._contours = SmoothContours(self._places, working.shape[:2], ratio=ratio)
        self._side = int((getattr(working, "chunks", None) or (BLOCK_PX,))[0])
        self._held: OrderedDict[tuple[int, int], npt.NDArray[np.uint32]] = OrderedDict()
        self._holds: Callable[[int, int], bool] = getattr(working, "holds", lambda *_: True)
        self._new_ids: npt.NDArray[np.uint32] | None = None
        self.kept = np.ones(nuclei, bool) if kept is None else kept
        if kept is None and self._may_lose():
            self.kept = self._find_kept()
        if self.lost:
            ids = np.cumsum(self.kept)
            self._new_ids = np.append(0, np.where(self.kept, ids, 0)).astype(np.uint32)

    @property
    def lost(self) -> int:
        """Number of nuclei without a pixel in the drawn map."""
        return int(np.count_nonzero(~self.kept))

    def __getitem__(self, index: tuple[slice, slice]) -> npt.NDArray[np.uint32]:
        if self._contours is None:
            rows, columns = (places[part] for places, part in zip(self._places, index, strict=True))
            ids = self._read(rows, columns)
        else:
            needed = self._needed(index)
            window = self._read(*(np.arange(part.start, part.stop) for part in needed.slices))
            ids = self._contours.draw(index, window, corner=(needed.y0, needed.x0))
        return ids if self._new_ids is None else self._new_ids[ids]

    def _read(self, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> Any:
        """Read the (h, w) uint32 ids of the working map at some rows and columns."""
        ids = np.zeros((len(rows), len(columns)), np.uint32)
        for row, ys in _runs(rows, self._side):
            for column, xs in _runs(columns, self._side):
                if not self._holds(row, column):
                    continue
                block = self._block(row, column)
                picked = block[_index(rows[ys] - row * self._side)]
                ids[ys, xs] = picked[:, _index(columns[xs] - column * self._side)]
        return ids

    def is_empty(self, box: Box) -> bool:
        """Return whether a box is known to hold no nucleus, without being read."""
        rows, columns = (
            range(part.start // self._side, (part.stop - 1) // self._side + 1)
            for part in self._needed(box.slices).slices
        )
        return not any(self._holds(row, column) for row in rows for column in columns)

    def at_working_size(self) -> "OutputMap":
        """The working map itself, with the nuclei and ids that there are here."""
        return OutputMap(self._working, nuclei=len(self.kept), kept=self.kept)

    def to_json(self) -> dict[str, Any]:
        """Facts about the drawn map, for its certificate."""
        return {
            "shape": list(self.shape),
            "px_per_working_px": self.ratio,
            "nuclei": len(self.kept) - self.lost,
            "lost": self.lost,
        }

    def ids(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Ids (n,) int64 of nuclei `start + 1`..`stop` of the working map; 0 if lost."""
        if self._new_ids is None:
            return np.arange(start + 1, stop + 1)
        return self._new_ids[start + 1 : stop + 1].astype(np.int64)

    def boxes(self, boxes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Boxes in the drawn map that hold the nuclei of boxes (n, 4) of the working map.

        Boxes are half-open, (y0, x0, y1, x1).
        """
        places = [self._places[axis] for axis in (0, 1, 0, 1)]
        grown = boxes + self._reach * np.array([-1, -1, 1, 1])
        sides = [np.searchsorted(at, grown[:, i]) for i, at in enumerate(places)]
        return np.stack(sides, axis=1).astype(np.int64)

    @property
    def _reach(self) -> int:
        """Working pixels beyond its own that a drawn pixel may depend on."""
        return REACH_PX if self._contours else 0

    def _needed(self, index: tuple[slice, slice]) -> Box:
        """The working pixels that a part of the drawn map depends on."""
        y0, x0 = (int(at[part][0]) for at, part in zip(self._places, index, strict=True))
        y1, x1 = (int(at[part][-1]) + 1 for at, part in zip(self._places, index, strict=True))
        height, width = self._working.shape
        return Box(y0, x0, y1, x1).grow(self._reach).clip((height, width))

    def _block(self, row: int, column: int) -> npt.NDArray[np.uint32]:
        place = (row, column)
        if place not in self._held:
            y, x = row * self._side, column * self._side
            self._held[place] = np.asarray(
                self._working[y : y + self._side, x : x + self._side], np.uint32
            )
            if len(self._held) > max(4, BLOCKS_HELD * BLOCK_PX**2 // self._side**2):
                self._held.popitem(last=False)
        self._held.move_to_end(place)
        return self._held[place]

    def _may_lose(self) -> bool:
        """Return whether some working pixel lies under no center."""
        return any(
            len(np.unique(places)) < length
            for places, length in zip(self._places, self._working.shape, strict=True)
        )

    def _find_kept(self) -> npt.NDArray[np.bool_]:
        drawn = np.zeros(len(self.kept) + 1, bool)
        for y in range(0, self.shape[0], BLOCK_PX):
            for x in range(0, self.shape[1], BLOCK_PX):
                drawn[self[y : y + BLOCK_PX, x : x + BLOCK_PX]] = True
        return drawn[1:]


def _runs(places: npt.NDArray[np.int64], side: int) -> Iterator[tuple[int, slice]]:
    """The blocks of `side` that ascending places lie in, and which places lie in each."""
    blocks = places // side
    starts = np.flatnonzero(np.diff(blocks, prepend=-1)).tolist()
    for start, stop in zip(starts, [*starts[1:], len(places)], strict=True):
        yield int(blocks[start]), slice(start, stop)


def _index(places: npt.NDArray[np.int64]) -> Any:
    """Index of places: a slice where they follow one another, which copies faster."""
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if last - first == len(places) - 1 else places
