"""The overlay: contours of nuclei on a picture of the image."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

SMALL_PX = 1024
LARGEST_ZOOM = 4


def draw_overlay(picture: npt.NDArray[np.uint8], instance_map: Any) -> npt.NDArray[np.uint8]:
    """Draw each nucleus's contour in a color of its own, so that wrong splits and merges show.

    Parameters
    ----------
    picture : (h, w, 3) uint8
        Thumbnail of the image, RGB.
    instance_map : (H, W) uint32 array
        NumPy or zarr; every `ceil(H / h)`-th pixel is read and drawn.

    Returns
    -------
    (zoom * h, zoom * w, 3) uint8
        Small pictures are enlarged up to four times, so that contours are thin
        against their nuclei.
    """
    step = -(-instance_map.shape[0] // picture.shape[0])
    ids = np.asarray(instance_map[::step, ::step])
    zoom = max(1, min(LARGEST_ZOOM, SMALL_PX // max(picture.shape[:2])))
    large = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
    ids = np.repeat(np.repeat(ids, zoom, axis=0), zoom, axis=1)
    contour = np.zeros(ids.shape, bool)
    contour[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    contour[:-1] |= ids[:-1] != ids[1:]
    contour[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    contour[1:] |= ids[1:] != ids[:-1]
    contour &= ids > 0
    large[contour] = _palette()[ids[contour] % 180]
    return large


def _palette() -> npt.NDArray[np.uint8]:
    """Bright colors (180, 3); from one to the next the hue takes a golden-angle step."""
    hue = (np.arange(180) * 111 % 180).astype(np.uint8)
    vivid = np.stack([hue, np.full_like(hue, 200), np.full_like(hue, 255)], axis=-1)
    return cv2.cvtColor(vivid[None], cv2.COLOR_HSV2RGB)[0]
