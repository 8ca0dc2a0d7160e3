"""Squares of generated tissue that may be repeated side by side: H&E, IHC, fat, fluorescence.

A square has its amounts twice, with and without nuclei, so that a slide
can leave out a nucleus whose center lies beyond the tissue's outline. No nucleus
touches the square's edge: mirrored copies fit to each other, and none is cut.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from nucleipel.data.synthetic.scene import (
    EOSIN,
    HEMATOXYLIN,
    Plane,
    draw_distractors,
    draw_nucleus,
    nucleus_centers,
    smooth_noise,
    stroma,
)
from nucleipel.instances.table_of_map import in_raster_order

TissueKind = Literal["h&e", "ihc", "fat", "fluorescence"]
DAB = np.array([0.27, 0.57, 0.78], np.float32)  # Ruifrok and Johnston 2001
STRENGTH = 0.75 * np.log(10)
BLUR_PX = 0.8
HALO_PX = 3
"""Reach of a nucleus beyond its outline, by the blur of the optics."""
NUCLEI_PER_MPX = {"h&e": 900.0, "ihc": 900.0, "fat": 150.0, "fluorescence": 600.0}
FAT_CELL_PX = 110


@dataclass(frozen=True)
class Tissue:
    """A square of tissue, as amounts on its ground.

    Parameters
    ----------
    between, within : (side, side, C) float32
        Amounts without and with nuclei; of absorbed light 0 to 1, of emitted
        light about 1 in a bright nucleus.
    ids : (side, side) int32
        Nuclei 1..n in raster order, 0 between them.
    owner : (side, side) int32
        The same, each grown by `HALO_PX`: whose presence a pixel shows.
    centers : (n, 2) float64
        Center (y, x) of each nucleus.
    """

    between: Plane
    within: Plane
    ids: npt.NDArray[np.int32]
    owner: npt.NDArray[np.int32]
    centers: npt.NDArray[np.float64]

    @property
    def side_px(self) -> int:
        """Side of the square."""
        return len(self.ids)


def build_tissue(
    kind: TissueKind,
    *,
    seed: int = 0,
    side_px: int = 1024,
    nuclei_per_mpx: float | None = None,
    channels: int = 3,
) -> Tissue:
    """A square of tissue; the same arguments give the same bytes.

    `channels` is that of a fluorescence slide, 1 or 3 (cytoplasm in red and
    green, nuclei in blue); stained tissue has 3.
    """
    draw = np.random.default_rng((seed, side_px))
    count = max(4, round((nuclei_per_mpx or NUCLEI_PER_MPX[kind]) * side_px**2 / 1e6))
    if kind == "fluorescence":
        between, within, ids = _fluorescent(side_px, count, channels, draw)
    else:
        drawers = {"h&e": _hematoxylin_eosin, "ihc": _immunohistochemistry, "fat": _fat}
        between, within, ids = drawers[kind](side_px, count, draw)
    numbered = in_raster_order(ids).astype(np.int32)
    grown = cv2.dilate(numbered.astype(np.float32), np.ones((2 * HALO_PX + 1,) * 2))
    owner = np.where(numbered > 0, numbered, grown.astype(np.int32))
    return Tissue(between, within, numbered, owner, _centers(numbered))


def _centers(ids: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    areas = np.bincount(ids.ravel())
    rows, columns = np.indices(ids.shape)
    sums = [np.bincount(ids.ravel(), weights=places.ravel()) for places in (rows, columns)]
    return np.stack([total[1:] / areas[1:] for total in sums], axis=1)


def _draw_nuclei(
    first: Plane,
    second: Plane,
    count: int,
    draw: np.random.Generator,
    *,
    places: npt.NDArray[np.bool_] | None = None,
    scale: float = 1.0,
) -> npt.NDArray[np.int32]:
    """Draw nuclei into two stains, the second being theirs, none at the edge; their ids."""
    shape = first.shape
    ids = np.zeros(shape, np.int32)
    everywhere = np.ones(shape, bool)
    centers = nucleus_centers(everywhere if places is None else places, count, draw)
    for number, (y, x, radius) in enumerate(centers, start=1):
        reach = 1.6 * radius * scale + 2 * HALO_PX
        if min(y, x) > reach and max(y, x) < len(first) - reach:
            draw_nucleus(ids, first, second, everywhere, number, (y, x), radius * scale, draw)
    return ids


def _absorbed(*stains: tuple[Plane, npt.NDArray[np.float32]]) -> Plane:
    """(h, w, 3) share of light that stains take (Beer-Lambert), seen through the optics."""
    density = sum(plane[..., None] * color for plane, color in stains)
    light = np.exp(-np.float32(STRENGTH) * density).astype(np.float32)
    return 1 - cv2.GaussianBlur(light, None, BLUR_PX, borderType=cv2.BORDER_REFLECT)


Drawn = tuple[Plane, Plane, npt.NDArray[np.int32]]


def _hematoxylin_eosin(side: int, count: int, draw: np.random.Generator) -> Drawn:
    eosin, hematoxylin = stroma((side, side), draw)
    bare = eosin.copy(), hematoxylin.copy()
    ids = _draw_nuclei(eosin, hematoxylin, count, draw)
    draw_distractors(ids, eosin, hematoxylin, np.ones_like(ids, bool), count // 12, draw)
    bare = _with(bare, (eosin, hematoxylin), ids)
    between, within = (
        _absorbed((one, EOSIN), (two, HEMATOXYLIN)) for one, two in (bare, (eosin, hematoxylin))
    )
    return between, within, ids


def _immunohistochemistry(side: int, count: int, draw: np.random.Generator) -> Drawn:
    """Pale blue nuclei, two fifths of them brown, on tissue with a breath of both stains."""
    clouds, pale = stroma((side, side), draw)
    brown, blue = 0.12 * clouds, 0.6 * pale
    bare = brown.copy(), blue.copy()
    nuclear = np.zeros_like(blue)
    ids = _draw_nuclei(brown, nuclear, count, draw)
    positive = draw.random(int(ids.max()) + 1) < 0.4
    brown = brown + nuclear * np.where(positive[ids], 1.3, 0).astype(np.float32)
    blue = blue + nuclear * np.where(positive[ids], 0.3, 0.55).astype(np.float32)
    between, within = (
        _absorbed((one, DAB), (two, HEMATOXYLIN)) for one, two in (bare, (brown, blue))
    )
    return between, within, ids


def _fat(side: int, count: int, draw: np.random.Generator) -> Drawn:
    """Round empty cells as clear as glass, thin pale walls, few small nuclei in the walls."""
    seeds = np.ones((side, side), np.uint8)
    cells = -(-side // FAT_CELL_PX)
    grid = np.indices((cells, cells)).reshape(2, -1).T + draw.uniform(0.15, 0.85, (cells**2, 2))
    rows, columns = np.minimum((grid * FAT_CELL_PX).astype(int), side - 1).T
    seeds[rows, columns] = 0
    _, cell = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, cv2.DIST_MASK_5)
    inside = np.ones((side, side), np.uint8)
    inside[:-1] &= cell[:-1] == cell[1:]
    inside[:, :-1] &= cell[:, :-1] == cell[:, 1:]
    wall = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5)
    width = 2.0 + 0.8 * smooth_noise((side, side), 90, draw)
    texture, _ = stroma((side, side), draw)
    eosin = (0.5 * texture / (1 + np.exp(np.minimum(1.5 * (wall - width), 30))) + 0.01).astype(
        np.float32
    )
    hematoxylin = 0.1 * eosin
    bare = eosin.copy(), hematoxylin.copy()
    ids = _draw_nuclei(eosin, hematoxylin, count, draw, places=wall < 2, scale=0.7)
    between, within = (
        _absorbed((one, EOSIN), (two, HEMATOXYLIN)) for one, two in (bare, (eosin, hematoxylin))
    )
    return between, within, ids


def _fluorescent(side: int, count: int, channels: int, draw: np.random.Generator) -> Drawn:
    """Nuclei of all brightnesses, in the haze of what lies out of focus."""
    clouds, _ = stroma((side, side), draw)
    nuclear = np.zeros((side, side), np.float32)
    ids = _draw_nuclei(np.zeros_like(nuclear), nuclear, count, draw)
    brightness = np.clip(draw.lognormal(np.log(0.55), 0.45, int(ids.max()) + 1), 0.15, 1.6)
    nuclear = nuclear / 0.7 * brightness[ids].astype(np.float32)
    haze = 0.03 * clouds + 0.12 * cv2.GaussianBlur(nuclear, None, 12, borderType=cv2.BORDER_REFLECT)
    sharp = cv2.GaussianBlur(nuclear, None, 1.2, borderType=cv2.BORDER_REFLECT)
    if channels == 1:
        between, within = haze[..., None], (haze + sharp)[..., None]
    else:
        dyes = np.stack([0.15 * clouds, 0.35 * clouds**2], axis=-1)
        between = np.concatenate([dyes, haze[..., None]], axis=-1)
        within = np.concatenate(
            [dyes * np.where(ids > 0, 0.8, 1)[..., None], (haze + sharp)[..., None]], axis=-1
        )
    return between.astype(np.float32), within.astype(np.float32), ids


def _with(
    bare: tuple[Plane, Plane], drawn: tuple[Plane, Plane], ids: npt.NDArray[np.int32]
) -> tuple[Plane, Plane]:
    """Stains without nuclei, but with all else that was drawn between them."""
    one, two = (np.where(ids > 0, old, new) for old, new in zip(bare, drawn, strict=True))
    return one, two
