"""Generated images with their annotation, to try things on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucleipel.data.synthetic import build_scene
from nucleipel.errors import ArgumentError


@dataclass(frozen=True)
class Sample:
    """A generated piece of stained tissue.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB.
    labels : (H, W) uint32
        Its nuclei, 1..n; 0 for background.
    mpp : float
        Um per pixel.
    """

    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint32]
    mpp: float


def sample(side_px: int = 512, *, seed: int = 0) -> Sample:
    """Generate a square of tissue stained with hematoxylin and eosin, with its nuclei.

    No photograph is in it, and nobody's data: use it as you like (CC0).

    Parameters
    ----------
    side_px : int
        Its side, from 32 on.
    seed : int
        Another seed gives another image; the same one the same bytes.

    Raises
    ------
    ArgumentError
        If `side_px` is below 32, or one is no whole number.

    Examples
    --------
    >>> import nucleipel as npl
    >>> sample = npl.datasets.sample(64)
    >>> sample.image.shape, sample.labels.shape, sample.mpp
    ((64, 64, 3), (64, 64), 0.5)
    """
    for name, value, least in (("side_px", side_px, 32), ("seed", seed, 0)):
        if not isinstance(value, int | np.integer) or value < least:
            raise ArgumentError(f"{name}: {value}; expected a whole number, at least {least}")
    scene = build_scene((side_px, side_px), seed=seed, glass=False)
    return Sample(scene.image, scene.instance_map, 0.5)
