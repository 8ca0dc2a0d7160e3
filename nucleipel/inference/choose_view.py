"""Choose the view in which a network knows an image best: its scale, and stains as color or dye.

A network that was trained on images of any pixel size finds the nuclei of an image that it has
never seen the like of at one scale, and loses them at another. No annotation is needed to find
that scale: there the network agrees best with its own result (`instances/disagreement.py`).
Where it is sure, or agrees well enough, at the image's own scale, nothing else is tried; unless
nuclei are narrower or wider there than the network knows them (`instances/nuclear_width.py`).

The choice follows from image and checkpoint alone. Of a large image parts of its tissue are
measured, the same ones whatever glass lies around them. The numbers were chosen on val of
DSB2018, which the packaged weights know, and on images that the network at hand had never seen
(docs/choices.md).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from nucleipel.core.geometry import Box
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.inference.network_input import show_in
from nucleipel.inference.probability_map import predict_part
from nucleipel.instances.disagreement import Certainty, Disagreement, certainty, disagreement
from nucleipel.instances.instance_rule import InstanceRule
from nucleipel.instances.nuclear_width import Rings, rings
from nucleipel.instances.segment_map import segment_instances
from nucleipel.io.slides.formats.array import image_of_array
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import Slide
from nucleipel.model.checkpoint import Checkpoint

SURE, SURE_STAINED = 0.91, 0.93
"""Certainty from which on nothing else is measured; the higher one is for stained tissue. Of images
that the network did not know, fewer than one in ten reached it, of those that it knew, most."""
DOUBTFUL, DOUBTFUL_STAINED = 0.13, 0.10
"""Disagreement from which on other views are tried; the lower one is for stained tissue."""
LEAD = 0.003
"""So much less must it be in another view."""
NARROW_PX, NARROW_STAINED_PX, WIDE_PX = 10.0, 9.5, 49.0
"""Nuclei of nearly all images that the packaged weights were trained on are that wide. Stained
tissue gains nothing by a finer scale from 9.4 px on, and whole slides of it are large."""
COARSEST, COARSER, FINER, FINEST = 0.25, (0.5, 0.75), 1.5, 2.0
GRID_PX = 64
"""So many pixels are whole strides of the network at all of these scales. Tissue that lies
multiples of it apart in two slides is seen alike, and parts that are measured lie on it."""
WHOLE_PX = 2**20
"""An image, or the tissue of one, of at most so many pixels is measured as a whole."""
SQUARES, SQUARE_PX = 4, 384
LARGEST_DOUBLED_PX = 2**26
"""More tissue than this is not seen at the finest scale, which is four times the work."""


@dataclass(frozen=True)
class View:
    """Working pixels along a pixel of level 0, and whether stained tissue is shown as its dye."""

    scale: float = 1.0
    as_dye: bool = False

    def __str__(self) -> str:
        return f"{self.scale:g}{' as dye' if self.as_dye else ''}"


@dataclass(frozen=True)
class ChosenView:
    """A view, and why it was taken.

    Parameters
    ----------
    view : View
    certainty : float, optional
        Of the network at the image's own scale, if that was measured.
    width_px : float, optional
        Of nuclei at the image's own scale, if that was measured and some are likely.
    disagreements : dict
        The mean one in each view that was measured, None where no nucleus was found.
    maps : (4, H, W) uint8, optional
        The map in the frame of the view, of an image that was measured as a whole.
    """

    view: View = View()
    certainty: float | None = None
    width_px: float | None = None
    disagreements: dict[str, float | None] = field(default_factory=dict)
    maps: npt.NDArray[np.uint8] | None = None


def choose_view(
    model: Checkpoint,
    slide: Slide,
    *,
    as_dye: bool | None = None,
    device: torch.device,
    precision: str = "auto",
    clock: Stopwatch | None = None,
) -> ChosenView:
    """Choose the view of a slide, which is seen pixel for pixel.

    Narrow nuclei are tried at finer scales, wide ones at coarser, and where the network is not
    sure and disagrees with itself, both; then stained tissue is not enlarged. It is shown as its
    dye or not, as `as_dye` says; both are tried if it is None. The network must have a distance
    map, and must lie on the device.
    """
    trial = _Trial(model, slide, device, precision, clock or Stopwatch())
    stained = slide.is_stained()
    first = View(as_dye=bool(as_dye) and stained)
    sure, doubt = (SURE_STAINED, DOUBTFUL_STAINED) if stained else (SURE, DOUBTFUL)
    own_certainty, width = trial.certainty(first), trial.width(first)
    is_sure = own_certainty >= sure
    narrow, wide = width < (NARROW_STAINED_PX if stained else NARROW_PX), width > WIDE_PX
    if is_sure and not narrow and not wide:
        return trial.chosen(first, own_certainty, width)
    own = trial.measure(first)
    lost = own is None
    doubtful = not narrow and not wide and (own is None or own >= doubt)
    if lost or wide or doubtful:
        for scale in (*COARSER, COARSEST) if lost or wide else COARSER:
            trial.measure(View(scale, first.as_dye))
    if lost or narrow or (doubtful and not stained):
        _measure_finer(trial, first, slide)
    if doubtful and stained and as_dye is None:
        for scale in COARSER:
            trial.measure(View(scale, as_dye=True))
    known = {view: found for view, found in trial.measured.items() if found is not None}
    best = min(known, key=known.__getitem__, default=first)
    # where nothing is found at its own scale, an image may well be empty
    is_better = best in known and known[best] <= (doubt if own is None else own - LEAD)
    return trial.chosen(best if is_better else first, own_certainty, width)


def _measure_finer(trial: "_Trial", first: View, slide: Slide) -> None:
    own, finer = trial.measured[first], trial.measure(View(FINER, first.as_dye))
    helps = own is None or (finer is not None and finer < own)
    if helps and _tissue_px(slide) <= LARGEST_DOUBLED_PX:
        trial.measure(View(FINEST, first.as_dye))


class _Trial:
    """The views of one slide that were tried, and the maps of one that is measured as a whole."""

    def __init__(
        self,
        model: Checkpoint,
        slide: Slide,
        device: torch.device,
        precision: str,
        clock: Stopwatch,
    ) -> None:
        self._model, self._device, self._precision = model, device, precision
        self._clock = clock
        self._rule = InstanceRule(**model.description.instances)
        self._is_whole = math.prod(slide.shape) <= WHOLE_PX
        self._pieces = [slide] if self._is_whole else list(_sample(slide))
        self._intensity = None if self._is_whole else slide.intensity_range()
        self._maps: dict[View, list[npt.NDArray[np.uint8]]] = {}
        self.measured: dict[View, float | None] = {}

    def certainty(self, view: View) -> float:
        """How sure the network is in a view, 0 to 1; no nuclei need to be found for that."""
        return sum(map(certainty, self._predict(view)), Certainty()).dice

    def width(self, view: View) -> float:
        """How wide nuclei are in a view, in its pixels; NaN where none are likely."""
        found = sum(map(rings, self._predict(view)), Rings())
        return found.width(self._model.description.boundary_px)

    def measure(self, view: View) -> float | None:
        """The mean disagreement in a view."""
        found = Disagreement()
        for maps in self._predict(view):
            with self._clock.phase("stitch"):
                nuclei = segment_instances(maps, rule=self._rule)
                found += disagreement(maps, nuclei.map)
        self.measured[view] = found.mean
        return found.mean

    def chosen(self, view: View, own_certainty: float, width: float) -> ChosenView:
        """The result, with what holds at the image's own scale, and the map of a whole image."""
        return ChosenView(
            view,
            certainty=own_certainty,
            width_px=width if math.isfinite(width) else None,
            disagreements={str(tried): found for tried, found in self.measured.items()},
            maps=self._predict(view)[0] if self._is_whole else None,
        )

    def _predict(self, view: View) -> list[npt.NDArray[np.uint8]]:
        """The map of each piece in a view, made once."""
        if view not in self._maps:
            self._maps[view] = [
                self._predict_piece(piece.at_scale(view.scale), view) for piece in self._pieces
            ]
        return self._maps[view]

    def _predict_piece(self, seen: Slide, view: View) -> npt.NDArray[np.uint8]:
        description = self._model.description
        network, grid = show_in(self._model, seen.shape, as_dye=view.as_dye)
        return predict_part(
            network, seen, Box.of_shape(seen.shape),
            intensity=self._intensity or seen.intensity_range(),
            grid=grid,
            channels=description.network.in_channels,
            maps=len(description.maps),
            device=self._device,
            precision=self._precision,
            clock=self._clock,
        )  # fmt: skip


def _cells(slide: Slide) -> npt.NDArray[np.bool_]:
    """Which cells of a slide are tissue: all of them where none is known to be."""
    found = slide.tissue().weights > 0
    return found if found.any() else np.ones_like(found)


def _tissue_px(slide: Slide) -> int:
    return int(_cells(slide).sum()) * slide.tissue().tissue.step_px ** 2


def _sample(slide: Slide) -> Iterator[Slide]:
    """Parts of a large slide, each an image for itself, that depend on its tissue alone.

    All of the tissue if it lies within `WHOLE_PX`; else `SQUARES` of those squares that hold most,
    one from each equal part of what they hold. The squares are laid from the middle of the tissue,
    so glass around it, and where it lies on the glass, moves none.
    """
    cells, step = _cells(slide), slide.tissue().tissue.step_px
    whole = _bounds(cells, step)
    px = math.prod(length - step for length in whole.shape)  # cells overhang what they hold
    boxes = [whole] if px <= WHOLE_PX else _fullest_squares(cells, step)
    for box in (_on_grid(box).clip(slide.shape) for box in boxes):
        image = image_of_array(slide.read(box))
        yield Slide(image, Resolution.pixel_for_pixel(box.shape, slide.mpp))


def _on_grid(box: Box) -> Box:
    """The smallest box on the grid of `GRID_PX` that holds a box."""
    starts = (start - start % GRID_PX for start in (box.y0, box.x0))
    stops = (stop + -stop % GRID_PX for stop in (box.y1, box.x1))
    return Box(*starts, *stops)


def _bounds(cells: npt.NDArray[np.bool_], step_px: int) -> Box:
    """The smallest box, in pixels, around all cells of tissue."""
    (y0, y1), (x0, x1) = (np.flatnonzero(cells.any(axis=axis))[[0, -1]] for axis in (1, 0))
    return Box(*(int(cell) * step_px for cell in (y0, x0, y1 + 1, x1 + 1)))


def _fullest_squares(cells: npt.NDArray[np.bool_], step_px: int) -> list[Box]:
    side = max(1, round(SQUARE_PX / step_px))
    middle = [_middle(cells.sum(axis=axis, dtype=np.int64)) for axis in (1, 0)]
    before = [-cell % side for cell in middle]
    after = [-(length + start) % side for length, start in zip(cells.shape, before, strict=True)]
    padded = np.pad(cells, list(zip(before, after, strict=True)))
    held = padded.reshape(padded.shape[0] // side, side, -1, side).sum(axis=(1, 3), dtype=np.int64)
    places = np.argwhere(2 * held >= held.max())
    reached = np.cumsum(held[tuple(places.T)])
    wanted = (np.arange(SQUARES) + 0.5) * reached[-1] / SQUARES
    px = side * step_px
    corners = (places[np.unique(np.searchsorted(reached, wanted))] * side - before) * step_px
    return [Box(y, x, y + px, x + px) for y, x in corners.tolist()]


def _middle(held: npt.NDArray[np.int64]) -> int:
    """The place up to which half lies."""
    return int(np.searchsorted(held.cumsum(), held.sum() / 2))
