"""Probability maps of whole slides: core + halo windows, cropped, never blended.

The grid is anchored at (0, 0), and windows end where the mirrored frame of the image
does; with a halo that covers the receptive field, a core's values do not depend on
where windows were cut. Windows of one shape go through the network in batches of one
size, formed in raster order inside each part, because a GPU may round another way in
a batch of another size. A network that was trained on whole images sees them whole.

A thread reads the next batches while the network is at work on one. On a GPU
the network computes in mixed precision, as it does in training, unless another is chosen.
"""

from collections.abc import Container, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nucleipel.core.freed_memory import freed_memory_kept
from nucleipel.core.geometry import Box, Tile, core_tiles
from nucleipel.core.intensity import IntensityRange
from nucleipel.core.resize import resize
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.core.threads import in_order, threads
from nucleipel.data.sample import to_network_input
from nucleipel.errors import PredictionError
from nucleipel.instances.quantize import quantize
from nucleipel.io.slides.slide import Slide
from nucleipel.model.checkpoint import WindowGrid
from nucleipel.model.device import uses_gpu
from nucleipel.model.network import fold_batch_norm, to_probabilities

BACKGROUND = 0
"""The map's first channel, all that a skipped core has."""
NARROWEST_CHANNELS_LAST = 16
"""torch 2.13 was seen to corrupt the heap on CPUs when a network with stages of 4, 8 or 12 channels
learned from channels_last tensors; 16 and more were sound. No fault was seen in prediction."""
BATCHES_AHEAD = 2
"""Windows that are read ahead of the network."""


def choose_device(device: str) -> torch.device:
    """The torch device of "auto", "cpu", "cuda" or "mps".

    Raises
    ------
    PredictionError
        If "cuda" or "mps" is asked for and there is none.
    """
    if not uses_gpu(device, error=PredictionError):
        return torch.device("cpu")
    return torch.device("mps" if device == "mps" else "cuda")


def place_network(network: nn.Module, device: torch.device) -> None:
    """Move a network to where it will predict, with the memory layout that is fastest there.

    It is for prediction only from then on (`fold_batch_norm`). A network with a
    stage of fewer than `NARROWEST_CHANNELS_LAST` channels stays contiguous on CPUs, and
    any does on Apple's GPU.
    """
    network.to(device)
    if device.type != "cuda":
        fold_batch_norm(network)
        widths = [
            layer.out_channels
            for layer in list(network.modules())
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        ]
        # the last layer's outputs, a few channels, are read and not convolved
        if device.type == "mps" or min(widths[:-1], default=0) < NARROWEST_CHANNELS_LAST:
            return
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def predict_parts(
    network: nn.Module,
    slide: Slide,
    parts: Sequence[Box],
    *,
    intensity: IntensityRange,
    grid: WindowGrid,
    channels: int,
    maps: int,
    device: torch.device,
    flips: bool = False,
    precision: str = "auto",
    skipped: Container[Box] = (),
    clock: Stopwatch | None = None,
) -> Generator[tuple[Box, npt.NDArray[np.uint8]]]:
    """Each part of a slide and its (maps, h, w) uint8 map; all parts start on the grid.

    `maps` are the first of the network's outputs that are wanted.

    The cores in `skipped` are background, and are not read. With `flips`,
    probabilities are the mean over the eight flips and quarter turns of each
    window: as exact, eight times slower, a little better. `precision` is "float32", "bfloat16",
    or "auto": float16 on CUDA, otherwise float32. What is read ahead
    for later parts changes nothing in any; close the generator to end it early.

    Raises
    ------
    PredictionError
        If a probability is not finite.
    """
    cut = [
        [tile for tile in grid_tiles(slide.shape, grid, within=part) if tile.core not in skipped]
        for part in parts
    ]
    cores = _cores(
        _Forward(network, device, flips, precision), slide, cut,
        intensity=intensity, grid=grid, channels=channels, clock=clock or Stopwatch(),
    )  # fmt: skip
    with closing(cores):
        for part, tiles in zip(parts, cut, strict=True):
            values = np.zeros((maps, *part.shape), np.uint8)
            values[BACKGROUND] = 255
            for core, probabilities in islice(cores, len(tiles)):
                inside = core.shift(-part.y0, -part.x0).slices
                values[(slice(None), *inside)] = quantize(probabilities[:maps])
            yield part, values


def predict_part(
    network: nn.Module, slide: Slide, part: Box, **named: Any
) -> npt.NDArray[np.uint8]:
    """The (maps, h, w) uint8 map of one part of a slide; arguments as of `predict_parts`."""
    with closing(predict_parts(network, slide, [part], **named)) as made:
        return next(made)[1]


def predict_probabilities(
    network: nn.Module,
    slide: Slide,
    *,
    intensity: IntensityRange,
    grid: WindowGrid,
    channels: int,
    maps: int,
    device: torch.device,
) -> npt.NDArray[np.float32]:
    """The (maps, H, W) map of a whole slide as the network gave it, not rounded to uint8.

    Raises
    ------
    PredictionError
        If a probability is not finite.
    """
    values = np.empty((maps, *slide.shape), np.float32)
    tiles = list(grid_tiles(slide.shape, grid))
    cores = _cores(
        _Forward(network, device), slide, [tiles],
        intensity=intensity, grid=grid, channels=channels, clock=Stopwatch(),
    )  # fmt: skip
    with closing(cores):
        for core, probabilities in cores:
            values[(slice(None), *core.slices)] = probabilities
    return values


def grid_tiles(
    shape: tuple[int, int], grid: WindowGrid, *, within: Box | None = None
) -> Iterator[Tile]:
    """The tiles of an image of shape (height, width), or those that start inside a box."""
    frame = grid.frame_of(shape)
    return core_tiles(shape, core_px=grid.core_px, halo_px=grid.halo_px, frame=frame, within=within)


@dataclass(frozen=True)
class _Forward:
    """A network and the way windows go through it; see `predict_parts`."""

    network: nn.Module
    device: torch.device
    flips: bool = False
    precision: str = "auto"

    @property
    def on_gpu(self) -> bool:
        """Whether the network lies on a CUDA device."""
        return self.device.type == "cuda"

    @torch.inference_mode()
    def __call__(self, windows: torch.Tensor) -> npt.NDArray[np.float32]:
        """The (B, maps, h, w) probabilities of (B, channels, h, w) windows."""
        seen = windows.to(self.device, non_blocking=True)
        if self.on_gpu:
            seen = seen.contiguous(memory_format=torch.channels_last)
        shorter = self.precision == "bfloat16" or (self.precision == "auto" and self.on_gpu)
        dtype = torch.bfloat16 if self.precision == "bfloat16" else torch.float16
        with torch.autocast(self.device.type, dtype=dtype, enabled=shorter):
            return _probabilities(self.network, seen, flips=self.flips).cpu().numpy()


def _cores(
    forward: _Forward,
    slide: Slide,
    cut: Sequence[Sequence[Tile]],
    *,
    intensity: IntensityRange,
    grid: WindowGrid,
    channels: int,
    clock: Stopwatch,
) -> Generator[tuple[Box, npt.NDArray[np.float32]]]:
    """Each core and its (maps, h, w) probabilities, in order; no batch holds tiles of two parts."""
    if grid.whole_image_px is not None:
        if any(cut):
            seen = _whole(
                forward, slide,
                intensity=intensity, side_px=grid.whole_image_px, channels=channels, clock=clock,
            )  # fmt: skip
        yield from (
            (tile.core, seen[(slice(None), *tile.core.slices)]) for part in cut for tile in part
        )
        return

    def read(batch: Sequence[Tile]) -> tuple[Sequence[Tile], torch.Tensor]:
        with clock.phase("read"):
            return batch, _read_batch(
                slide, batch,
                intensity=intensity, count=grid.batch, channels=channels,
                pinned=forward.on_gpu,
            )  # fmt: skip

    batches = (batch for tiles in cut for batch in _batches(tiles, grid.batch))
    with threads(1) as reader, freed_memory_kept():
        for batch, windows in in_order(reader, read, batches, ahead=BATCHES_AHEAD):
            with clock.phase("predict"):
                outputs = forward(windows)
            for tile, probabilities in zip(batch, outputs, strict=False):
                _require_finite(probabilities, slide, tile.core)
                inside = tile.core.shift(-tile.window.y0, -tile.window.x0)
                yield tile.core, probabilities[(slice(None), *inside.slices)]


def _read_batch(
    slide: Slide,
    tiles: Sequence[Tile],
    *,
    intensity: IntensityRange,
    count: int,
    channels: int,
    pinned: bool,
) -> torch.Tensor:
    """The windows of some tiles, filled up with zeros to `count`: (count, channels, h, w) float32.

    Contiguous; the network's first convolution brings them into the layout of its weights.
    """
    shape = (count, channels, *tiles[0].window.shape)
    windows = torch.empty(shape, dtype=torch.float32, pin_memory=pinned)
    values = windows.numpy()  # filled by NumPy: torch would start threads of its own for this one
    for index, tile in enumerate(tiles):
        pixels = intensity.normalize(slide.read(tile.window))
        values[index] = to_network_input(pixels, channels=channels).numpy()
    values[len(tiles) :] = 0
    return windows


def _whole(
    forward: _Forward,
    slide: Slide,
    *,
    intensity: IntensityRange,
    side_px: int,
    channels: int,
    clock: Stopwatch,
) -> npt.NDArray[np.float32]:
    """(maps, H, W) probabilities of an image that is seen whole, resized to a square and back."""
    whole = Box.of_shape(slide.shape)
    with clock.phase("read"):
        square = resize(intensity.normalize(slide.read(whole)), (side_px, side_px))
    with clock.phase("predict"):
        seen = to_network_input(square, channels=channels)[None]
        probabilities = forward(seen)[0]
    _require_finite(probabilities, slide, whole)
    return resize(probabilities.transpose(1, 2, 0), slide.shape).transpose(2, 0, 1)


def _require_finite(probabilities: npt.NDArray[np.float32], slide: Slide, core: Box) -> None:
    if not np.isfinite(probabilities).all():
        raise PredictionError(
            f"{slide.path}: probabilities are not finite at {core}; the checkpoint is unusable"
        )


def _probabilities(network: nn.Module, windows: torch.Tensor, *, flips: bool) -> torch.Tensor:
    if not flips:
        return to_probabilities(network(windows))
    total = torch.zeros((), device=windows.device)
    for turns in range(4):
        for mirrored in (False, True):
            view = windows.flip(-1) if mirrored else windows
            seen = to_probabilities(network(view.rot90(turns, (-2, -1)).contiguous()))
            back = seen.rot90(-turns, (-2, -1))
            total = total + (back.flip(-1) if mirrored else back)
    return total / 8


def _batches(tiles: Sequence[Tile], size: int) -> Iterator[Sequence[Tile]]:
    """Tiles that follow each other and have windows of one shape, at most `size` together."""
    for _, alike in groupby(tiles, key=lambda tile: tile.window.shape):
        while batch := list(islice(alike, size)):
            yield batch
