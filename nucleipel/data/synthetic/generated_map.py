"""Probability maps of any size, made piece by piece: what to time and test stitching on.

Every pixel depends on the seed and its own place only, so that a slide of
billions of pixels can be made in blocks and is the same however it is cut.
"""

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box

CELL_PX = 64
RADIUS_PX = (6.0, 13.0)
NOISE = 12
"""Largest change of a pixel's nucleus probability by noise, in 1/255."""


def build_probability_map(
    box: Box, *, seed: int = 0, nuclei_per_cell: float = 3.6
) -> npt.NDArray[np.uint8]:
    """The (4, h, w) uint8 map of one box of an endless slide.

    Background, interior, boundary, distance. Nuclei are ellipses with radii of
    `RADIUS_PX`, scattered without regard to each other, so that many touch;
    `nuclei_per_cell` is their mean number in `CELL_PX` x `CELL_PX` pixels.
    """
    depth, central, noise, _ = _scene(box, seed, nuclei_per_cell)
    return _to_map(depth, central, noise)


def build_instance_map(
    box: Box, *, seed: int = 0, nuclei_per_cell: float = 3.6
) -> npt.NDArray[np.uint32]:
    """The (h, w) nuclei that `build_probability_map` of the same arguments shows.

    A pixel in several nuclei is that one's whose edge is farthest. Ids have gaps,
    and are those of this box only.
    """
    depth, _, _, owner = _scene(box, seed, nuclei_per_cell)
    return np.where(depth > 0, owner, 0).astype(np.uint32)


def _scene(
    box: Box, seed: int, nuclei_per_cell: float
) -> tuple[
    npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int16], npt.NDArray[np.int32]
]:
    """Depth (px inside a nucleus' edge), over the greatest in it, noise, number of the nucleus."""
    around = box.grow(3 * CELL_PX)  # a cell begins up to one beyond, a nucleus reaches on
    depth = np.full(around.shape, -8, np.float32)
    central = np.zeros(around.shape, np.float32)
    noise = np.zeros(around.shape, np.int16)
    owner = np.zeros(around.shape, np.int32)
    count = 0
    for row in range(box.y0 // CELL_PX - 1, -(-box.y1 // CELL_PX) + 1):
        for column in range(box.x0 // CELL_PX - 1, -(-box.x1 // CELL_PX) + 1):
            # a seed takes no negative number
            random = np.random.default_rng((seed, row + 2**20, column + 2**20))
            y, x = row * CELL_PX - around.y0, column * CELL_PX - around.x0
            noise[y : y + CELL_PX, x : x + CELL_PX] = random.integers(
                -NOISE, NOISE, (CELL_PX, CELL_PX), np.int16, endpoint=True
            )
            for shape in random.random((random.poisson(nuclei_per_cell), 5)):
                count += 1
                _draw(shape, (y, x), count, depth, central, owner)
    inside = box.shift(-around.y0, -around.x0).slices
    return depth[inside], central[inside], noise[inside], owner[inside]


def _draw(
    shape: npt.NDArray[np.float64],
    corner: tuple[int, int],
    number: int,
    depth: npt.NDArray[np.float32],
    central: npt.NDArray[np.float32],
    owner: npt.NDArray[np.int32],
) -> None:
    """Write depth, centrality and number of a nucleus where it is deeper than what is there."""
    center = shape[:2] * CELL_PX
    low, high = RADIUS_PX
    radii = low + (high - low) * shape[2:4]
    turn = np.pi * shape[4]
    reach = int(radii.max()) + 4
    start = np.floor(center).astype(int) - reach
    steps = np.arange(2 * reach + 1, dtype=np.float32)
    y, x = (steps + (start - center)[0])[:, None], steps + (start - center)[1]
    along = (np.cos(turn) * y + np.sin(turn) * x) / radii[0]
    across = (np.cos(turn) * x - np.sin(turn) * y) / radii[1]
    own = (1 - np.sqrt(along**2 + across**2)) * radii.min()
    v, u = start + corner
    place = slice(v, v + len(steps)), slice(u, u + len(steps))
    higher = own > depth[place]
    depth[place][higher] = own[higher]
    central[place][higher] = (own / radii.min())[higher]
    owner[place][higher] = number


def _to_map(
    depth: npt.NDArray[np.float32],
    central: npt.NDArray[np.float32],
    noise: npt.NDArray[np.int16],
) -> npt.NDArray[np.uint8]:
    certain = 1 / (1 + np.exp(-2 * depth))
    nucleus = np.clip(np.rint(255 * certain) + noise * (depth > -2), 0, 255)
    interior = np.rint(nucleus / (1 + np.exp(-2 * (depth - 2))))
    distance = np.rint(255 * np.clip(central, 0, 1))
    return np.stack([255 - nucleus, interior, nucleus - interior, distance]).astype(np.uint8)
