"""Whole images in another shape, proportions given up; `core.resample` keeps them."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nucleipel.core.resample import centers


def resize(pixels: npt.NDArray[np.float32], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """(H, W, C) pixels in another shape, proportions given up.

    An axis that shrinks takes the mean of what each pixel covers, one that
    grows is interpolated linearly: values stay within those that were there.
    """
    for axis, length in enumerate(shape):
        if pixels.shape[axis] == length:
            continue
        method = cv2.INTER_AREA if length < pixels.shape[axis] else cv2.INTER_LINEAR
        size = (pixels.shape[1], length) if axis == 0 else (length, pixels.shape[0])
        resized = cv2.resize(pixels, size, interpolation=method)
        pixels = resized.reshape(size[1], size[0], pixels.shape[2])  # OpenCV drops a single channel
    return pixels


def resize_ids(instance_map: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[Any]:
    """An (H, W) instance map, or mask, in another shape: what lies under each pixel's center."""
    rows, columns = (
        centers(0, length, ratio=before / length, length=before)
        for length, before in zip(shape, instance_map.shape, strict=True)
    )
    return instance_map[np.ix_(rows, columns)]
