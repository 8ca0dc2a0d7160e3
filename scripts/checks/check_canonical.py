"""Compare the probability maps of an image cut into cores of several sizes, and of one core.

    python scripts/checks/check_canonical.py IMAGE ...
    python scripts/checks/check_canonical.py --checkpoint RUN --cores 256 512 1024 SLIDE.svs

Each tiled map is compared with that of one window around the whole image, which
takes memory: 4 GB for 7 Mpx in float32, twice that in float64. In float64: the
greatest difference of a probability, and the number of stored uint8 values that
differ. In float32, as `predict` computes: the greatest difference in levels, the
share of pixels that differ, and the PQ of the nuclei of one map against the other.

Exits with 1 if float64 differs by more than 1e-9 or in a stored value, or if
float32 differs by more than a level, in more than 0.1 % of the pixels, or with
a PQ below 0.999.
"""

import argparse
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nucleipel.core.geometry import Box, reflected_indices
from nucleipel.inference.probability_map import grid_tiles, predict_part
from nucleipel.instances import InstanceRule, segment_instances
from nucleipel.instances.quantize import quantize
from nucleipel.io.slides.slide import open_slide
from nucleipel.metrics.scores import ImageScore
from nucleipel.model.checkpoint import DEFAULT, Checkpoint, WindowGrid, read_checkpoint

UNTILED_PX = 2**14
FLOAT64_LIMIT = 1e-9
FLOAT32_SHARE, FLOAT32_PQ = 1e-3, 0.999
ROW = "{:32} {:>6} {:>12} {:>8} {:>8} {:>12} {:>8} {:>8}"


def main() -> int:
    """Check each image of the command line; print a line for each size of cores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--checkpoint", type=Path, default=Path(DEFAULT))
    parser.add_argument("--cores", type=int, nargs="+", default=[256, 512, 1024])
    options = parser.parse_args()
    checkpoint = read_checkpoint(options.checkpoint)
    click.echo(ROW.format("image", "core", "float64", "uint8", "levels", "share", "PQ", "nuclei"))
    failed = False
    for image in options.images:
        with open_slide(image) as slide:
            # a core that holds the image is the un-tiled pass itself
            cores = [core_px for core_px in options.cores if core_px < max(slide.shape)]
        doubles = float64_differences(checkpoint, image, cores)
        singles = float32_differences(checkpoint, image, cores)
        for core_px, double, single in zip(cores, doubles, singles, strict=True):
            worst, changed = double
            levels, share, pq, nuclei = single
            cells = (f"{worst:.1e}", changed, levels, f"{share:.1e}", f"{pq:.5f}", nuclei)
            click.echo(ROW.format(image.stem[:32], core_px, *cells))
            failed |= worst > FLOAT64_LIMIT or changed > 0
            failed |= levels > 1 or share > FLOAT32_SHARE or pq < FLOAT32_PQ
    click.echo("a map depends on how it was cut" if failed else "no map depends on how it was cut")
    return int(failed)


def float64_differences(
    checkpoint: Checkpoint, image: Path, cores: list[int], *, within: Box | None = None
) -> list[tuple[float, int]]:
    """Greatest difference of a probability, and number of different uint8 values, for each size."""
    network, grid = checkpoint.network.double(), checkpoint.description.grid
    stride = checkpoint.description.network.stride
    with open_slide(image) as slide:
        pixels = slide.intensity_range().normalize(slide.read(within or Box.of_shape(slide.shape)))
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    whole = float64_map(network, pixels, -(-max(pixels.shape) // stride) * stride, grid.halo_px)
    found = []
    for core_px in cores:
        tiled = float64_map(network, pixels, core_px, grid.halo_px)
        changed = int((quantize(tiled) != quantize(whole)).sum())
        found.append((float(np.abs(tiled - whole).max()), changed))
    return found


def float32_differences(
    checkpoint: Checkpoint, image: Path, cores: list[int]
) -> list[tuple[int, float, float, int]]:
    """Difference in levels, share of pixels, PQ and number of nuclei, for each size of cores."""
    whole = stored_map(checkpoint, image, UNTILED_PX)
    rule = InstanceRule(**checkpoint.description.instances)
    expected = segment_instances(whole, rule=rule)
    found = []
    for core_px in cores:
        tiled = stored_map(checkpoint, image, core_px)
        levels = np.abs(tiled.astype(int) - whole).max(axis=0)
        score = ImageScore.of(expected.map, segment_instances(tiled, rule=rule).map)
        pq = score.to_scores()["pq"] if len(expected.table) else 1.0
        found.append((int(levels.max()), float((levels > 0).mean()), pq, len(expected.table)))
    return found


@torch.no_grad()
def float64_map(
    network: nn.Module, image: npt.NDArray[np.floating], core_px: int, halo_px: int
) -> npt.NDArray[np.float64]:
    """(4, H, W) probabilities of a normalized (H, W, C) image, in float64."""
    height, width = image.shape[:2]
    values = np.empty((4, height, width))
    grid = WindowGrid(core_px=core_px, halo_px=halo_px, batch=1)
    for tile in grid_tiles((height, width), grid):
        window = image[
            np.ix_(
                reflected_indices(tile.window.y0, tile.window.y1, height),
                reflected_indices(tile.window.x0, tile.window.x1, width),
            )
        ]
        seen = torch.from_numpy(window.transpose(2, 0, 1)).double().contiguous()[None]
        outputs = network(seen)[0]
        probabilities = torch.cat([outputs[:-1].softmax(dim=0), outputs[-1:].sigmoid()]).numpy()
        inside = tile.core.shift(-tile.window.y0, -tile.window.x0)
        values[(slice(None), *tile.core.slices)] = probabilities[(slice(None), *inside.slices)]
    return values


def stored_map(checkpoint: Checkpoint, image: Path, core_px: int) -> npt.NDArray[np.uint8]:
    """The (4, H, W) uint8 map that `predict` would store with cores of another size."""
    description = checkpoint.description
    with open_slide(image) as slide:
        stride = description.network.stride
        side = -(-max(slide.shape) // stride) * stride
        grid = WindowGrid(min(core_px, side), description.grid.halo_px, batch=1)
        return predict_part(
            checkpoint.network.float(),
            slide,
            Box.of_shape(slide.shape),
            intensity=slide.intensity_range(),
            grid=grid,
            channels=description.network.in_channels,
            maps=4,
            device=torch.device("cpu"),
        )


if __name__ == "__main__":
    raise SystemExit(main())
