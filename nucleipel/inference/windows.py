"""Probability maps of whole slides: core + halo windows, cropped, never blended.

The grid is anchored at (0, 0) and every window has one shape; with a halo that
covers the receptive field, a core's values do not depend on where windows
were cut. Windows go through the network in batches of one size, formed in
raster order inside each part, because a GPU may round another way in a batch
of another size. A network that was trained on whole images sees them whole.
"""

from collections.abc import Container, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nucleipel.core.geometry import Box, Tile, core_tiles
from nucleipel.core.intensity import IntensityRange
from nucleipel.data.sample import to_network_input
from nucleipel.data.whole_images import resize
from nucleipel.errors import PredictionError
from nucleipel.instances.quantize import quantize
from nucleipel.io.slide import Slide
from nucleipel.model.checkpoint import WindowGrid
from nucleipel.model.network import to_probabilities

BACKGROUND = 0
"""The map's first channel, all that a skipped core has."""


def choose_device(device: str) -> torch.device:
    """The torch device of "auto", "cpu" or "cuda".

    Raises
    ------
    PredictionError
        If "cuda" is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise PredictionError("device cuda: no usable GPU was found; use --device cpu or auto")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def predict_part(
    network: nn.Module,
    slide: Slide,
    part: Box,
    *,
    intensity: IntensityRange,
    grid: WindowGrid,
    channels: int,
    maps: int,
    device: torch.device,
    flips: bool = False,
    skipped: Container[Box] = (),
) -> npt.NDArray[np.uint8]:
    """The (maps, h, w) uint8 map of one part of a slide; `part` starts on the grid.

    The cores in `skipped` are background, and are not read. With `flips`,
    probabilities are the mean over the eight flips and quarter turns of each
    window: as exact, eight times slower, a little better.

    Raises
    ------
    PredictionError
        If a probability is not finite.
    """
    values = np.zeros((maps, *part.shape), np.uint8)
    values[BACKGROUND] = 255
    cores = _cores(
        network, slide, part,
        intensity=intensity, grid=grid, channels=channels, device=device, flips=flips,
        skipped=skipped,
    )  # fmt: skip
    for core, probabilities in cores:
        values[(slice(None), *core.shift(-part.y0, -part.x0).slices)] = quantize(probabilities)
    return values


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
    whole = Box.of_shape(slide.shape)
    cores = _cores(
        network, slide, whole,
        intensity=intensity, grid=grid, channels=channels, device=device, flips=False,
    )  # fmt: skip
    for core, probabilities in cores:
        values[(slice(None), *core.slices)] = probabilities
    return values


def _cores(
    network: nn.Module,
    slide: Slide,
    part: Box,
    *,
    intensity: IntensityRange,
    grid: WindowGrid,
    channels: int,
    device: torch.device,
    flips: bool,
    skipped: Container[Box] = (),
) -> Iterator[tuple[Box, npt.NDArray[np.float32]]]:
    """Each core of a part but the skipped ones, and its (maps, h, w) probabilities."""
    cut = core_tiles(slide.shape, core_px=grid.core_px, halo_px=grid.halo_px, within=part)
    tiles = [tile for tile in cut if tile.core not in skipped]
    if grid.whole_image_px is not None:
        seen = _whole(
            network, slide,
            intensity=intensity, side_px=grid.whole_image_px, channels=channels, device=device,
            flips=flips,
        )  # fmt: skip
        yield from ((tile.core, seen[(slice(None), *tile.core.slices)]) for tile in tiles)
        return
    for batch in _batches(tiles, grid.batch):
        windows = [
            to_network_input(intensity.normalize(slide.read(tile.window)), channels=channels)
            for tile in batch
        ]
        windows += [torch.zeros_like(windows[0])] * (grid.batch - len(batch))
        stacked = torch.stack(windows).contiguous().to(device)
        outputs = _forward(network, stacked, flips=flips)
        for tile, probabilities in zip(batch, outputs, strict=False):
            _require_finite(probabilities, slide, tile.core)
            inside = tile.core.shift(-tile.window.y0, -tile.window.x0)
            yield tile.core, probabilities[(slice(None), *inside.slices)]


def _whole(
    network: nn.Module,
    slide: Slide,
    *,
    intensity: IntensityRange,
    side_px: int,
    channels: int,
    device: torch.device,
    flips: bool,
) -> npt.NDArray[np.float32]:
    """(maps, H, W) probabilities of an image that is seen whole, resized to a square and back."""
    whole = Box.of_shape(slide.shape)
    square = resize(intensity.normalize(slide.read(whole)), (side_px, side_px))
    seen = to_network_input(square, channels=channels)[None].to(device)
    probabilities = _forward(network, seen, flips=flips)[0]
    _require_finite(probabilities, slide, whole)
    return resize(probabilities.transpose(1, 2, 0), slide.shape).transpose(2, 0, 1)


def _require_finite(probabilities: npt.NDArray[np.float32], slide: Slide, core: Box) -> None:
    if not np.isfinite(probabilities).all():
        raise PredictionError(
            f"{slide.path}: probabilities are not finite at {core}; the checkpoint is unusable"
        )


@torch.inference_mode()
def _forward(network: nn.Module, windows: torch.Tensor, *, flips: bool) -> npt.NDArray[np.float32]:
    if not flips:
        return to_probabilities(network(windows)).cpu().numpy()
    total = torch.zeros((), device=windows.device)
    for turns in range(4):
        for mirrored in (False, True):
            view = windows.flip(-1) if mirrored else windows
            seen = to_probabilities(network(view.rot90(turns, (-2, -1)).contiguous()))
            back = seen.rot90(-turns, (-2, -1))
            total = total + (back.flip(-1) if mirrored else back)
    return (total / 8).cpu().numpy()


def _batches(tiles: Sequence[Tile], size: int) -> Iterator[Sequence[Tile]]:
    for start in range(0, len(tiles), size):
        yield tiles[start : start + size]
