"""A generated slide of any size with its annotation, made box by box.

Every pixel depends on the description and its own place only, so that a slide
of billions of pixels is written without being held:

    glass = BrightGround()
    slide = SyntheticSlide((100_000, 100_000), glass, tissue=build_tissue("h&e"),
                           layout=Islands(share=0.05), artifacts=[Pen("green"), Dust(300)])
    write_pyramid(path, slide.shape, slide.read, mpp=0.5, repeats=slide.repeats)
    write_tiled_annotation(label, slide.shape, slide.annotation)

On the ground lie the artifacts, on them generated tissue. Pieces of given
pixels, such as parts of real slides, are laid last and keep their pixels exactly.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.data.synthetic.artifacts import Artifact, Strokes, Void
from nucleipel.data.synthetic.ground import PERIOD_PX, Amount, Ground
from nucleipel.data.synthetic.layout import Layout, Outline
from nucleipel.data.synthetic.tissue import Tissue

EDGE_PX = 6
"""Tissue's edge fades over so many pixels."""


@dataclass(frozen=True)
class Piece:
    """Given pixels (h, w, C), and their nuclei (h, w) if known, laid with a corner at (y0, x0)."""

    pixels: npt.NDArray[Any]
    y0: int
    x0: int
    instance_map: npt.NDArray[np.integer] | None = None

    @property
    def box(self) -> Box:
        """Where it lies on the slide."""
        return Box.of_shape(self.pixels.shape[:2]).shift(self.y0, self.x0)


class SyntheticSlide:
    """A slide of (height, width) px; `read` and `annotation` give any box of it.

    Parameters
    ----------
    shape : (height, width)
    ground : BrightGround or DarkGround
    tissue : Tissue, optional
        A square of generated tissue, with as many channels as the ground.
    layout : Layout, optional
        Where generated tissue lies. Without it, and without `nuclei`, nowhere.
    nuclei : int, optional
        In place of a layout: that many single nuclei, scattered over the slide.
    pieces, artifacts, void
        What else lies on it; see `Piece` and `nucleipel.data.synthetic.artifacts`.
    seed : int
        Of the layout and the artifacts' places.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        ground: Ground,
        *,
        tissue: Tissue | None = None,
        layout: Layout | None = None,
        nuclei: int | None = None,
        pieces: Sequence[Piece] = (),
        artifacts: Iterable[Artifact] = (),
        void: Void | None = None,
        seed: int = 0,
    ) -> None:
        self.shape = shape
        self.ground = ground
        self.pieces = tuple(pieces)
        self._tissue = tissue
        self._outline = None if layout is None else Outline(layout, shape, seed)
        self._scattered = None if nuclei is None else self._scatter(nuclei, seed)
        self._strokes = Strokes(
            artifacts, shape, channels=ground.channels, dark=ground.is_dark, seed=seed
        )
        self._void = void
        self._copies = -(-shape[1] // tissue.side_px) if tissue else 0
        self._present = cache(self._find_present)
        firsts = np.cumsum([0, *(int(_ids(piece).max(initial=0)) for piece in self.pieces)])
        self._first_ids = firsts.tolist()
        self._fields = None if void is None else self._find_void(void)

    def read(self, box: Box) -> npt.NDArray[Any]:
        """The (h, w, C) pixels of a box, in the dtype of the ground."""
        amount = np.zeros((*box.shape, self.ground.channels), np.float32)
        for stroke in self._strokes.amounts(box):
            amount = self.ground.over(amount, stroke)
        if self._holds_tissue(box):
            amount = self.ground.over(amount, self._tissue_amount(box))
        pixels = self.ground.expose(amount, box, self.shape)
        if self._void is not None:
            pixels[self._is_void(box)] = self._void.value
        for piece in self.pieces:
            here, there = _shared(box, piece.box)
            if here is not None and there is not None:
                pixels[here] = piece.pixels[there]
        return pixels

    def annotation(self, box: Box) -> npt.NDArray[np.uint32]:
        """The (h, w) nuclei of a box: the ids of pieces first, then those of generated tissue."""
        ids = np.zeros(box.shape, np.uint32)
        if self._tissue is not None and self._holds_tissue(box):
            first = self._first_ids[-1]
            count = len(self._tissue.centers)
            for copy, on_box, on_copy in self._copies_in(box):
                own = _flipped(self._tissue.ids, copy)[on_copy]
                drawn = self._present(*copy)[own]
                number = first + (copy[0] * self._copies + copy[1]) * count
                ids[on_box] = np.where(drawn, own + number, 0)
        if self._void is not None:
            ids[self._is_void(box)] = 0
        for piece, first in zip(self.pieces, self._first_ids, strict=False):
            here, there = _shared(box, piece.box)
            if here is not None and there is not None:
                own = _ids(piece)[there]
                ids[here] = np.where(own > 0, own + first, 0)
        return ids

    def repeats(self, box: Box) -> Hashable:
        """A key for a box of bare ground or void: boxes of one key and shape have equal pixels."""
        if any(_shared(box, piece.box)[0] is not None for piece in self.pieces):
            return None
        if self._void is not None:
            void = self._is_void(box)
            if void.all():
                return "void"
            if void.any():
                return None
        if not self.ground.repeats or self._holds_tissue(box) or self._strokes.touch(box):
            return None
        return box.y0 % PERIOD_PX, box.x0 % PERIOD_PX

    def holds_tissue(self, box: Box) -> bool:
        """Whether generated tissue or a piece reaches into a box; it may err towards tissue."""
        laid = any(_shared(box, piece.box)[0] is not None for piece in self.pieces)
        return laid or self._holds_tissue(box)

    def centers(self) -> npt.NDArray[np.float64]:
        """Center (y, x) of every annotated nucleus, (n, 2); a void's nuclei are not left out."""
        found = [np.zeros((0, 2))]
        for piece in self.pieces:
            ids, rows_columns = _ids(piece), np.indices(piece.pixels.shape[:2])
            areas = np.bincount(ids.ravel())[1:]
            sums = [np.bincount(ids.ravel(), weights=p.ravel())[1:] for p in rows_columns]
            inside = np.stack(sums, axis=1)[areas > 0] / areas[areas > 0, None]
            found.append(inside + np.array([piece.y0, piece.x0]))
        if self._tissue is not None:
            for copy, _, _ in self._copies_in(Box.of_shape(self.shape)):
                found.append(self._centers_of(copy)[self._present(*copy)[1:]])
        return np.concatenate(found)

    # --- generated tissue ----------------------------------------------------------------

    def _holds_tissue(self, box: Box) -> bool:
        if self._tissue is None:
            return False
        if self._scattered is not None:
            return any(self._present(*copy).any() for copy, _, _ in self._copies_in(box))
        if self._outline is None:
            return False
        margin = self._tissue_margin()
        step = self._outline.step
        rows = np.append(np.arange(box.y0, box.y1, step), box.y1 - 1)
        columns = np.append(np.arange(box.x0, box.x1, step), box.x1 - 1)
        depth = self._outline.depth(rows[:, None], columns[None])
        return bool(depth.max() > -margin - 2 * step)

    def _tissue_margin(self) -> int:
        """How far a nucleus whose center is inside may reach out of the tissue."""
        return 40

    def _tissue_amount(self, box: Box) -> Amount:
        assert self._tissue is not None  # noqa: S101
        cover = self._cover(box)[..., None]
        amount = np.zeros((*box.shape, self.ground.channels), np.float32)
        for copy, here, there in self._copies_in(box):
            drawn = self._present(*copy)[_flipped(self._tissue.owner, copy)[there]]
            within = _flipped(self._tissue.within, copy)[there]
            between = _flipped(self._tissue.between, copy)[there] * cover[here]
            amount[here] = np.where(drawn[..., None], within, between)
        return amount

    def _cover(self, box: Box) -> npt.NDArray[np.float32]:
        """How much of each pixel is tissue, 0 to 1."""
        if self._outline is None:
            return np.zeros(box.shape, np.float32)
        rows, columns = np.arange(box.y0, box.y1)[:, None], np.arange(box.x0, box.x1)[None]
        return np.clip(self._outline.depth(rows, columns) / np.float32(EDGE_PX) + 0.5, 0, 1)

    def _copies_in(
        self, box: Box
    ) -> Iterator[tuple[tuple[int, int], tuple[slice, slice], tuple[slice, slice]]]:
        """The copies (row, column) of the square that a box meets; where in the box and in it."""
        assert self._tissue is not None  # noqa: S101
        side = self._tissue.side_px
        for row in range(box.y0 // side, -(-box.y1 // side)):
            for column in range(box.x0 // side, -(-box.x1 // side)):
                copy = Box(0, 0, side, side).shift(row * side, column * side)
                here, there = _shared(box, copy)
                if here is not None and there is not None:
                    yield (row, column), here, there

    def _centers_of(self, copy: tuple[int, int]) -> npt.NDArray[np.float64]:
        assert self._tissue is not None  # noqa: S101
        side, centers = self._tissue.side_px, self._tissue.centers.copy()
        for axis in range(2):
            if copy[axis] % 2:
                centers[:, axis] = side - 1 - centers[:, axis]
        return centers + np.multiply(copy, side)

    def _find_present(self, row: int, column: int) -> npt.NDArray[np.bool_]:
        """Which nuclei of a copy are drawn, (n + 1,), by id: those whose center is tissue."""
        assert self._tissue is not None  # noqa: S101
        present = np.zeros(len(self._tissue.centers) + 1, bool)
        if self._scattered is not None:
            present[self._scattered.get((row, column), [])] = True
        elif self._outline is not None:
            y, x = np.rint(self._centers_of((row, column))).astype(int).T
            present[1:] = (
                (self._outline.depth(y, x) > 0) & (y < self.shape[0]) & (x < self.shape[1])
            )
        return present

    def _scatter(self, nuclei: int, seed: int) -> dict[tuple[int, int], list[int]]:
        """So many nuclei at random, that lie wholly on the slide."""
        assert self._tissue is not None  # noqa: S101
        draw = np.random.default_rng((seed, 8))
        side, reach = self._tissue.side_px, self._tissue_margin()
        found: dict[tuple[int, int], list[int]] = {}
        while nuclei > 0:
            copy = tuple(int(draw.integers(-(-length // side))) for length in self.shape)
            number = int(draw.integers(len(self._tissue.centers)))
            place = self._centers_of((copy[0], copy[1]))[number]
            on = all(reach <= at <= n - reach for at, n in zip(place, self.shape, strict=True))
            own = found.setdefault((copy[0], copy[1]), [])
            if on and number + 1 not in own:
                own.append(number + 1)
                nuclei -= 1
        return found

    # --- void ----------------------------------------------------------------------------

    def _find_void(self, void: Void) -> npt.NDArray[np.bool_]:
        """Fields of `field_px` that were not scanned."""
        side = void.field_px
        rows, columns = (-(-length // side) for length in self.shape)
        fields = np.zeros((rows, columns), bool)
        if void.unscanned:
            for row in range(rows):
                for column in range(columns):
                    box = Box(0, 0, side, side).shift(row * side, column * side).clip(self.shape)
                    fields[row, column] = not self.holds_tissue(box)
            scanned = cv2.dilate((~fields).astype(np.uint8), np.ones((3, 3)))
            fields = scanned == 0
        down, across = round(void.padding * rows), round(void.padding * columns)
        fields[rows - down :] = True
        fields[:, columns - across :] = True
        if void.on_all_sides:
            fields[:down], fields[:, :across] = True, True
        return fields

    def _is_void(self, box: Box) -> npt.NDArray[np.bool_]:
        assert self._void is not None and self._fields is not None  # noqa: S101
        rows = np.arange(box.y0, box.y1) // self._void.field_px
        columns = np.arange(box.x0, box.x1) // self._void.field_px
        return self._fields[np.ix_(rows, columns)]


def _ids(piece: Piece) -> npt.NDArray[np.integer]:
    if piece.instance_map is None:
        return np.zeros(piece.pixels.shape[:2], np.uint32)
    return piece.instance_map


def _shared(box: Box, other: Box) -> tuple[tuple[slice, slice] | None, tuple[slice, slice] | None]:
    """Where two boxes meet: as an index of the first, and of the second; None if nowhere."""
    y0, x0 = max(box.y0, other.y0), max(box.x0, other.x0)
    y1, x1 = min(box.y1, other.y1), min(box.x1, other.x1)
    if y0 >= y1 or x0 >= x1:
        return None, None
    both = Box(y0, x0, y1, x1)
    return both.shift(-box.y0, -box.x0).slices, both.shift(-other.y0, -other.x0).slices


def _flipped(square: npt.NDArray[Any], copy: tuple[int, int]) -> npt.NDArray[Any]:
    """A square as it lies at (row, column): every second row and column of squares is mirrored."""
    down, right = (slice(None, None, -1) if at % 2 else slice(None) for at in copy)
    return square[down, right]
