"""An array as an image with one level: what is in memory is read as a file is."""

from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.geometry import Box
from nucleipel.io.slides.formats.stored_image import GRAY, RGB, Level, Pixels, StoredImage

NAME = Path("image")
"""Stands for the path in messages."""


def image_of_array(pixels: Any) -> StoredImage:
    """An (H, W), (H, W, C) array as an image: NumPy, or anything that is read by slices.

    Zarr and Dask arrays are read region by region. One channel is gray, three are
    red, green and blue, as in a PNG; any other number are channels "0", "1", ...
    """
    height, width, *more = (int(length) for length in pixels.shape)
    channels = more[0] if more else 1

    def load(box: Box) -> Pixels:
        return np.asarray(pixels[box.slices])

    names = {1: GRAY, 3: RGB}.get(channels) or tuple(str(index) for index in range(channels))
    return StoredImage(
        path=NAME,
        container="array",
        levels=(Level((height, width), 1.0, load),),
        dtype=np.dtype(pixels.dtype),
        channels=names,
        photometric="RGB" if channels == 3 else "gray",
    )
