"""A gray image as if it had been stained and seen in transmitted light.

Sets of nuclei are mostly fluorescence; what a nucleus is in a stained section
can be learned from it too, once its pixels look like one. What is bright in
fluorescence, or dark in a bright field, takes up the nuclear dye; the other dye
lies around in soft patches. Absorbances add up (Beer, Lambert), the vectors of
hematoxylin and eosin are those of Ruifrok and Johnston 2001, jittered.
"""

import cv2
import numpy as np
import numpy.typing as npt
import torch

from nucleipel.core.intensity import IntensityRange
from nucleipel.model.nuclear_dye import CELL_PX, nuclear_dye

HEMATOXYLIN, EOSIN = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11)
JITTER = 0.1


def is_gray(image: npt.NDArray[np.float32]) -> bool:
    """Return whether an (H, W, 3) image in [0, 1] has no color."""
    return float(np.ptp(image, axis=2).max()) < 1 / 255


def as_stained(
    image: npt.NDArray[np.float32], draw: np.random.Generator
) -> npt.NDArray[np.float32]:
    """A gray (H, W, 3) image in [0, 1], stained with two dyes; the same shape and range."""
    gray = image[..., 0]
    dye = gray if np.median(gray) < 0.5 else 1 - gray
    absorbance = draw.uniform(0.5, 1.6) * dye[..., None] * _vector(HEMATOXYLIN, draw)
    absorbance += draw.uniform(0, 0.6) * _patches(gray.shape, draw) * _vector(EOSIN, draw)
    light = 255 * np.exp(-absorbance)
    return IntensityRange.of_pixels(light).normalize(light)


def as_nuclear_dye(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """An (H, W, 3) image in [0, 1] as gray: how its nuclear dye stands out (`nuclear_dye`)."""
    height, width = image.shape[:2]
    down, right = -height % CELL_PX, -width % CELL_PX
    wider = cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_REFLECT)
    dye = nuclear_dye(torch.from_numpy(wider.transpose(2, 0, 1)[None]))[0, 0].numpy()
    return np.repeat(dye[:height, :width, None], 3, axis=2)


def _vector(dye: tuple[float, ...], draw: np.random.Generator) -> npt.NDArray[np.float64]:
    vector = np.clip(np.asarray(dye) + draw.normal(0, JITTER, 3), 0.02, None)
    return vector / np.linalg.norm(vector)


def _patches(shape: tuple[int, ...], draw: np.random.Generator) -> npt.NDArray[np.float32]:
    """(H, W, 1) noise in [0, 1], smooth at a random scale."""
    noise = draw.random(shape, np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), float(np.exp(draw.uniform(0.5, 3))))
    low, high = float(smooth.min()), float(smooth.max())
    return ((smooth - low) / max(high - low, 1e-6))[..., None]
