"""What a plan knows of an image before a window of it is read: size, grid, what is glass."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nucleipel.config import PlanConfig
from nucleipel.core.geometry import Box, core_tiles
from nucleipel.core.tissue import glass_cores
from nucleipel.io.manifest import Row
from nucleipel.io.predictions import shard_boxes
from nucleipel.io.reading import Reading
from nucleipel.io.resolution import Resolution
from nucleipel.io.slide import Slide
from nucleipel.io.tissue import tissue_of
from nucleipel.model.checkpoint import Checkpoint, WindowGrid

LEAST_WINDOWS, MOST_WINDOWS = 4, 16
"""Of an image that has more, so many are sampled."""
PYRAMID_PX = 4200
"""So wide is the sample of an image whose instance map becomes a pyramid, so that its does too."""


@dataclass(frozen=True, slots=True)
class Look:
    """One image as its header and, where one is asked for, its tissue mask tell it.

    Of its `cores`, `windows` are predicted, in `batches` of the network;
    `sampled` are some of them. `tissue_seconds` are those that the mask took.
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
    predicted_px: int
    sampled: tuple[Box, ...]
    tissue_seconds: float

    @property
    def px(self) -> int:
        """All pixels of the working frame."""
        return math.prod(self.resolution.shape)

    @property
    def glass_px(self) -> int:
        """Those that are skipped."""
        return self.px - self.predicted_px

    @property
    def is_whole(self) -> bool:
        """Whether all of the image is sampled."""
        return len(self.sampled) == self.cores

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


def look_at(model: Checkpoint, row: Row, reading: Reading, config: PlanConfig) -> Look:
    """How an image will be predicted, by the functions that `predict` uses.

    Raises
    ------
    ImageError
        If it cannot be read so.
    """
    description = model.description
    with reading.open(row.image, mpp=row.mpp) as slide:
        start = time.perf_counter()
        tissue = tissue_of(slide, config.tissue, image_id=row.id)
        seconds = time.perf_counter() - start
        grid = description.grid.fitted(slide.shape, stride=description.network.stride)
        cut = {"core_px": grid.core_px, "halo_px": grid.halo_px}
        skipped = glass_cores(tissue, slide.shape, **cut)
        parts = [
            [tile.core for tile in core_tiles(slide.shape, **cut, within=part)]
            for part in shard_boxes(slide.shape, core_px=grid.core_px)
        ]
        predicted = [[core for core in part if core not in skipped] for part in parts]
        windows = [core for part in predicted for core in part]
        cores = sum(map(len, parts))
        return Look(
            row=row,
            resolution=slide.resolution,
            container=slide.image.container,
            channels=slide.image.channels,
            dtype=slide.dtype,
            grid=grid,
            cores=cores,
            windows=len(windows),
            batches=sum(-(-len(part) // grid.batch) for part in predicted),
            predicted_px=sum(math.prod(core.shape) for core in windows),
            sampled=_sampled(windows, slide, cores=cores),
            tissue_seconds=seconds,
        )


def _sampled(windows: Sequence[Box], slide: Slide, *, cores: int) -> tuple[Box, ...]:
    """All windows of a small image; of others some, evenly spread, all of one height."""
    if len(windows) == cores <= LEAST_WINDOWS or not windows:
        return tuple(windows)
    height = max(core.shape[0] for core in windows)
    full = [core for core in windows if core.shape[0] == height]
    wanted = 0
    if max(slide.image.shape) > PYRAMID_PX:
        wanted = math.ceil(PYRAMID_PX / (full[0].shape[1] * slide.resolution.ratio))
    count = min(max(wanted, LEAST_WINDOWS), MOST_WINDOWS, len(full))
    # the middles of as many equal stretches
    return tuple(full[(2 * place + 1) * len(full) // (2 * count)] for place in range(count))
