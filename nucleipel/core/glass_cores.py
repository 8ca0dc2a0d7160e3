"""A coarse mask of the tissue of a slide, so that empty glass need not be predicted.

A mask only decides which cores of the window grid are skipped, each as a whole;
no pixel is ever changed. A core is skipped if it, and a ring of `ring_px`
around it, hold no tissue. The ring is at least the network's halo, so a
skipped core is one whose map would follow from glass alone; and at least
`LARGEST_NUCLEUS_PX`, so a nucleus that reaches into a skipped core lies, as far
as it is no longer than the ring, wholly on what the mask calls glass: one with
a single pixel of tissue is neither cut nor lost.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box, core_tiles

LARGEST_NUCLEUS_PX = 128


@dataclass(frozen=True)
class Tissue:
    """A coarse map of tissue: `mask` (h, w) bool, each pixel `step_px` working pixels wide.

    `origin` says in messages and records where it comes from.
    """

    mask: npt.NDArray[np.bool_]
    step_px: int
    origin: dict[str, str | int]

    def holds(self, box: Box) -> bool:
        """Return whether a box, in working pixels, holds any tissue; it may overhang the image."""
        y0, x0 = (max(start, 0) // self.step_px for start in (box.y0, box.x0))
        y1, x1 = (-(-stop // self.step_px) for stop in (box.y1, box.x1))
        return bool(self.mask[y0 : max(y1, 0), x0 : max(x1, 0)].any())

    def px(self, box: Box) -> int:
        """Working pixels of a box that lie on tissue, to the mask's precision."""
        y0, x0 = max(box.y0, 0) // self.step_px, max(box.x0, 0) // self.step_px
        part = self.mask[y0 : -(-box.y1 // self.step_px), x0 : -(-box.x1 // self.step_px)]
        height, width = box.shape
        return round(float(part.mean()) * height * width)

    @property
    def share(self) -> float:
        """Tissue in all of the mask, 0 to 1."""
        return float(self.mask.mean())


def ring_px(halo_px: int) -> int:
    """Distance around a skipped core within which no tissue may lie."""
    return max(halo_px, LARGEST_NUCLEUS_PX)


def glass_cores(
    tissue: Tissue | None, shape: tuple[int, int], *, core_px: int, halo_px: int
) -> frozenset[Box]:
    """The cores of the window grid over an image of shape (height, width) that are skipped."""
    if tissue is None:
        return frozenset()
    ring = ring_px(halo_px)
    tiles = core_tiles(shape, core_px=core_px, halo_px=halo_px)
    return frozenset(tile.core for tile in tiles if not tissue.holds(tile.core.grow(ring)))


def describe_skipped(
    tissue: Tissue | None,
    skipped: frozenset[Box],
    shape: tuple[int, int],
    *,
    core_px: int,
    halo_px: int,
    mpp: float | None,
) -> dict[str, Any]:
    """For the record of a result: where the mask comes from, and what was skipped."""
    if tissue is None:
        return {"mask": "off", "skipped_px": 0, "skipped_percent": 0.0}
    height, width = shape
    skipped_px = sum((core.y1 - core.y0) * (core.x1 - core.x0) for core in skipped)
    return {
        **tissue.origin,
        "mask_pixel_px": tissue.step_px,
        "tissue_percent": round(100 * tissue.share, 2),
        "ring_px": ring_px(halo_px),
        "cores": -(-height // core_px) * -(-width // core_px),
        "skipped_cores": len(skipped),
        "skipped_px": skipped_px,
        "skipped_um2": skipped_px * mpp**2 if mpp else None,
        "skipped_percent": round(100 * skipped_px / (height * width), 2),
    }
