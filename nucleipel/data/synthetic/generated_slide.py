"""A generated slide of any size with its annotation, made box by box.

Every pixel depends on the description and its own place only, so that a slide
of billions of pixels is written without being held:

    slide = SyntheticSlide((100_000, 100_000), BrightGround(), tissue=build_tissue("h&e"),
                           layout=Islands(share=0.05), artifacts=[Pen("green"), Dust(300)])
    write_pyramid(path, slide.shape, slide.read, mpp=0.5, repeats=slide.repeats)
    write_tiled_annotation(label, slide.shape, slide.annotation)

On the ground lie the artifacts, over them generated tissue, over all the void.
Pieces of given pixels, such as parts of real slides, are laid last and keep
their pixels exactly.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.data.synthetic.artifacts import Artifact, Strokes, Void
from nucleipel.data.synthetic.background import PERIOD_PX, Ground
from nucleipel.data.synthetic.laid_tissue import LaidTissue, SingleNuclei, shared
from nucleipel.data.synthetic.layout import Layout
from nucleipel.data.synthetic.tissue import Tissue


@dataclass(frozen=True)
class Piece:
    """Given pixels (h, w, C), and their nuclei (h, w) if known, laid with a corner at (y0, x0)."""

    pixels: npt.NDArray[Any]
    y0: int
    x0: int
    instance_map: npt.NDArray[np.integer] | None = None

    @property
    def box(self) -> Box:
        """Its box on the slide."""
        return Box.of_shape(self.ids.shape).shift(self.y0, self.x0)

    @property
    def ids(self) -> npt.NDArray[np.integer]:
        """Its nuclei (h, w); 0 everywhere if they are not known."""
        if self.instance_map is None:
            return np.zeros(self.pixels.shape[:2], np.uint32)
        return self.instance_map


class SyntheticSlide:
    """A slide of (height, width) px; `read` and `annotation` give any box of it.

    Parameters
    ----------
    shape : (height, width)
    ground : BrightGround or DarkGround
        Its channels and dtype are those of the slide.
    tissue, layout : Tissue and Islands, Sections, Cores or SingleNuclei, optional
        A square of generated tissue, and where it lies; both or neither.
    pieces : sequence of Piece
    artifacts : Dust, Hair, Pen, CoverslipEdge, in any number
    void : Void, optional
    seed : int
        Of the layout and of the artifacts' places.

    Raises
    ------
    ValueError
        If tissue or a piece does not fit the ground.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        ground: Ground,
        *,
        tissue: Tissue | None = None,
        layout: Layout | SingleNuclei | None = None,
        pieces: Sequence[Piece] = (),
        artifacts: Iterable[Artifact] = (),
        void: Void | None = None,
        seed: int = 0,
    ) -> None:
        _require_fitting(ground, tissue, layout, pieces)
        self.shape = shape
        self.ground = ground
        self._pieces = tuple(pieces)
        counts = [int(piece.ids.max(initial=0)) for piece in pieces]
        *self._first_ids, self._tissue_id = np.cumsum([0, *counts]).tolist()
        self._tissue = None
        if tissue is not None and layout is not None:
            self._tissue = LaidTissue(tissue, layout, shape, seed=seed)
        self._strokes = Strokes(
            artifacts, shape, channels=ground.channels, dark=ground.is_dark, seed=seed
        )
        self._void = None if void is None else void.place(shape, self.holds_tissue)

    def read(self, box: Box) -> npt.NDArray[Any]:
        """The (h, w, C) pixels of a box, in the dtype of the ground."""
        amount = np.zeros((*box.shape, self.ground.channels), np.float32)
        for stroke in self._strokes.amounts(box):
            amount = self.ground.over(amount, stroke)
        if self._tissue is not None and self._tissue.touches(box):
            amount = self.ground.over(amount, self._tissue.amount(box))
        pixels = self.ground.expose(amount, box, self.shape)
        if self._void is not None:
            pixels[self._void.holds(box)] = self._void.value
        for piece in self._pieces:
            on_box, on_piece = shared(box, piece.box)
            pixels[on_box] = piece.pixels[on_piece]
        return pixels

    def annotation(self, box: Box) -> npt.NDArray[np.uint32]:
        """The (h, w) nuclei of a box: the ids of pieces first, then those of generated tissue."""
        ids = np.zeros(box.shape, np.uint32)
        if self._tissue is not None and self._tissue.touches(box):
            own = self._tissue.ids(box)
            ids = np.where(own > 0, own + np.uint32(self._tissue_id), 0).astype(np.uint32)
        if self._void is not None:
            ids[self._void.holds(box)] = 0
        for piece, first in zip(self._pieces, self._first_ids, strict=True):
            on_box, on_piece = shared(box, piece.box)
            nuclei = piece.ids[on_piece]
            ids[on_box] = np.where(nuclei > 0, nuclei + first, 0)
        return ids

    def repeats(self, box: Box) -> Hashable:
        """A key for a box of bare ground or void: boxes of one key and shape have equal pixels."""
        if self._void is not None and (void := self._void.holds(box)).any():
            return "void" if void.all() and not self._lies_piece(box) else None
        if not self.ground.repeats or not self.is_bare(box):
            return None
        return box.y0 % PERIOD_PX, box.x0 % PERIOD_PX

    def is_bare(self, box: Box) -> bool:
        """Return whether a box holds ground only (no tissue, artifact, void); it may say no."""
        if self._void is not None and self._void.holds(box).any():
            return False
        return not self.holds_tissue(box) and not self._strokes.touch(box)

    def holds_tissue(self, box: Box) -> bool:
        """Return whether tissue or a piece reaches into a box; it may err towards tissue."""
        return self._lies_piece(box) or (self._tissue is not None and self._tissue.touches(box))

    def centers(self) -> npt.NDArray[np.float64]:
        """Center (y, x) of every annotated nucleus, (n, 2).

        One whose center a void or a piece hides is left out.
        """
        centers = [np.zeros((0, 2)) if self._tissue is None else self._tissue.centers()]
        y, x = np.rint(centers[0]).astype(int).T
        hidden = np.zeros(len(y), bool) if self._void is None else self._void.holds_points(y, x)
        for box in (piece.box for piece in self._pieces):
            hidden |= (y >= box.y0) & (y < box.y1) & (x >= box.x0) & (x < box.x1)
        centers[0] = centers[0][~hidden]
        for piece in self._pieces:
            ids = piece.ids.ravel()
            areas = np.bincount(ids)[1:]
            places = [np.bincount(ids, at.ravel())[1:] for at in np.indices(piece.ids.shape)]
            own = np.stack(places, axis=1)[areas > 0] / areas[areas > 0, None]
            centers.append(own + np.array([piece.y0, piece.x0]))
        return np.concatenate(centers)

    def _lies_piece(self, box: Box) -> bool:
        boxes = [piece.box for piece in self._pieces]
        return any(
            max(box.y0, other.y0) < min(box.y1, other.y1)
            and max(box.x0, other.x0) < min(box.x1, other.x1)
            for other in boxes
        )


def _require_fitting(
    ground: Ground,
    tissue: Tissue | None,
    layout: Layout | SingleNuclei | None,
    pieces: Sequence[Piece],
) -> None:
    if (tissue is None) != (layout is None):
        raise ValueError("generated tissue needs a layout, and a layout tissue: give both")
    if tissue is not None and tissue.within.shape[-1] != ground.channels:
        raise ValueError(
            f"tissue of {tissue.within.shape[-1]} channels on ground of {ground.channels}"
        )
    for piece in pieces:
        if piece.pixels.dtype != ground.dtype or piece.pixels.shape[2:] != (ground.channels,):
            raise ValueError(
                f"a piece of {piece.pixels.dtype}, shape {piece.pixels.shape}; expected"
                f" {ground.dtype} and (h, w, {ground.channels})"
            )
