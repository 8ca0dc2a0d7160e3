"""Survey an image for a plan before its windows are read: size, grid of windows, empty glass."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from nucleipel.config import PlanConfig
from nucleipel.core.geometry import Box, core_tiles
from nucleipel.core.glass_cores import glass_cores
from nucleipel.inference.network_input import show
from nucleipel.io.manifest import Row
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import Slide
from nucleipel.io.slides.slide_reader import SlideReader
from nucleipel.io.stores.stored_map import shard_boxes
from nucleipel.io.tissue_mask import tissue_of
from nucleipel.model.checkpoint import Checkpoint, WindowGrid

WHOLE_WINDOWS = 4
"""Images of so many windows are sampled whole."""
SAMPLED_PX = 512
"""Side of the pieces that are sampled from other images: many small ones are more typical than few
large ones."""
LEAST_PIECES, MOST_PIECES = 12, 64
PYRAMID_PX = 4200
"""Least width of the sample of an image whose instance map becomes a pyramid: its own does too."""
MANY_WINDOWS = 16
"""Images of so many windows time the network with two of full size, others with one."""


@dataclass(frozen=True, slots=True)
class ImageSurvey:
    """Facts about one image from its header and from its tissue mask, if it has one.

    Parameters
    ----------
    cores, windows, batches : int
        Cores of the grid, those that are predicted, and batches of the network.
    timed : tuple of Box
        Windows of full size that time the network.
    sampled : tuple of Box
        Cores of the `sampled_grid`, all of the image or pieces with tissue.
    tissue_px, sampled_tissue_px : int
        Pixels of tissue in all windows and in the sample; without a mask, all.
    is_whole : bool
        Whether the sample is the whole image.
    tissue_seconds : float
        Time that the mask took.
    """

    row: Row
    resolution: Resolution
    container: str
    channels: tuple[str, ...]
    dtype: np.dtype[np.generic]
    grid: WindowGrid
    cores: int
    windows: int
    batches: int
    tissue_px: int
    sampled_tissue_px: int
    is_whole: bool
    sampled_grid: WindowGrid
    sampled: tuple[Box, ...]
    timed: tuple[Box, ...]
    tissue_seconds: float

    @property
    def px(self) -> int:
        """All pixels of the working frame."""
        return math.prod(self.resolution.shape)

    @property
    def glass_px(self) -> int:
        """Pixels without tissue, skipped or not: nothing is segmented there."""
        return self.px - self.tissue_px

    @property
    def sampled_px(self) -> int:
        """Pixels of the sample, including glass between its tissue."""
        return _area(self.sampled)

    @property
    def part_px(self) -> int:
        """Pixels of the largest part that is predicted and written in one go."""
        first = shard_boxes(self.resolution.shape, core_px=self.grid.core_px)[0]
        return math.prod(first.shape)

    @property
    def held_bytes(self) -> int:
        """Bytes of pixels that stay in memory, since the file cannot be read by region."""
        if self.container not in ("PNG", "JPEG"):
            return 0
        pixels = math.prod(self.resolution.source_shape)
        return pixels * len(self.channels) * self.dtype.itemsize


def survey_image(
    model: Checkpoint, row: Row, reader: SlideReader, config: PlanConfig
) -> ImageSurvey:
    """Survey how an image will be predicted, with the functions that `predict` uses.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    description = model.description
    with row.open(reader) as slide:
        start = time.perf_counter()
        tissue = tissue_of(slide, config.tissue, image_id=row.id)
        seconds = time.perf_counter() - start
        _, grid = show(model, slide, stained_as=config.stained_as)
        cut: dict[str, Any] = {"core_px": grid.core_px, "halo_px": grid.halo_px}
        skipped = glass_cores(tissue, slide.shape, **cut)
        parts = [
            [tile.core for tile in core_tiles(slide.shape, **cut, within=part)]
            for part in shard_boxes(slide.shape, core_px=grid.core_px)
        ]
        predicted = [[core for core in part if core not in skipped] for part in parts]
        windows = [core for part in predicted for core in part]
        cores = sum(map(len, parts))
        whole = len(windows) == cores <= WHOLE_WINDOWS
        fine = grid if whole else _finer(grid, stride=description.network.stride)

        def tissue_px(box: Box) -> int:
            return math.prod(box.shape) if tissue is None else tissue.px(box)

        sampled = windows if whole else _pieces(windows, fine.core_px, slide, tissue_px)
        return ImageSurvey(
            row=row,
            resolution=slide.resolution,
            container=slide.image.container,
            channels=slide.image.channels,
            dtype=slide.dtype,
            grid=grid,
            cores=cores,
            windows=len(windows),
            batches=sum(-(-len(part) // grid.batch) for part in predicted),
            tissue_px=sum(map(tissue_px, windows)),
            sampled_tissue_px=sum(map(tissue_px, sampled)) or _area(sampled),
            is_whole=whole,
            sampled_grid=fine,
            sampled=tuple(sampled),
            timed=() if whole else _timed(windows),
            tissue_seconds=seconds,
        )


def _timed(windows: Sequence[Box]) -> tuple[Box, ...]:
    middle = windows[len(windows) // 2 :][:1]
    return (*middle, windows[0]) if len(windows) >= MANY_WINDOWS else tuple(middle)


def _area(boxes: Iterable[Box]) -> int:
    return sum(math.prod(box.shape) for box in boxes)


def _finer(grid: WindowGrid, *, stride: int) -> WindowGrid:
    """The grid with each core cut into equal ones of about `SAMPLED_PX`, if it can be."""
    side, rest = divmod(grid.core_px, -(-grid.core_px // SAMPLED_PX))
    fits = rest == 0 and side % stride == 0 and grid.whole_image_px is None
    return dataclasses.replace(grid, core_px=side) if fits else grid


def _pieces(
    windows: Sequence[Box], side_px: int, slide: Slide, tissue_px: Callable[[Box], int]
) -> list[Box]:
    """Squares of the finer grid within the windows: a random one from each of equal stretches."""
    pieces = [
        Box(y, x, y + side_px, x + side_px)
        for core in windows
        for y in range(core.y0, core.y1 - side_px + 1, side_px)
        for x in range(core.x0, core.x1 - side_px + 1, side_px)
    ]
    if not pieces:  # an image that is lower or narrower than one: its windows, all of one height
        pieces = [core for core in windows if core.shape[0] == windows[0].shape[0]]
    # pieces that are mostly tissue if there are any, else pieces with some tissue
    for least in (side_px**2 // 2, 0):
        pieces = [piece for piece in pieces if tissue_px(piece) > least] or pieces
    wanted = SAMPLED_PX**2 * LEAST_PIECES // side_px**2
    if max(slide.image.shape) > PYRAMID_PX:
        wanted = max(wanted, math.ceil(PYRAMID_PX / (side_px * slide.resolution.ratio)))
    count = min(max(wanted, LEAST_PIECES), MOST_PIECES, len(pieces))
    draw = np.random.default_rng(0)  # at equal steps all might lie in one column
    edges = [place * len(pieces) // max(count, 1) for place in range(count + 1)]
    return [pieces[draw.integers(low, high)] for low, high in pairwise(edges)]
