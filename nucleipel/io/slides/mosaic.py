"""Boxes of a slide side by side, as if they were an image of their own.

What is measured on a few windows of a slide is measured on this: its pixels
are read where they lie in the slide, and decoded as the slide's are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nucleipel.core.geometry import Box
from nucleipel.io.slides.formats import Level, StoredImage
from nucleipel.io.slides.formats.stored_image import Pixels
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import Slide


@dataclass(frozen=True)
class Mosaic:
    """An image made of boxes, and how it becomes its own working frame."""

    image: StoredImage
    resolution: Resolution


def build_mosaic(slide: Slide, boxes: Sequence[Box], *, level: int = 0) -> Mosaic:
    """The pixels of a slide's `level` under boxes of its working frame, from left to right.

    The boxes have one height. The mosaic has that one level; closing the slide closes it.
    """
    stored = slide.image.levels[level]
    ratio = slide.resolution.ratio / stored.downsample
    sides = [[max(1, round(length * ratio)) for length in box.shape] for box in boxes]
    height = min(min(side[0] for side in sides), stored.shape[0])
    places = []
    for box, (_, width) in zip(boxes, sides, strict=True):
        y0 = min(round(box.y0 * ratio), stored.shape[0] - height)
        x0 = max(0, min(round(box.x0 * ratio), stored.shape[1] - width))
        places.append(Box(y0, x0, y0 + height, min(x0 + width, stored.shape[1])))
    starts = np.cumsum([0, *(place.shape[1] for place in places)]).tolist()

    def load(box: Box) -> Pixels:
        parts = []
        for start, place in zip(starts, places, strict=False):
            x0, x1 = max(box.x0 - start, 0), min(box.x1 - start, place.shape[1])
            if x0 < x1:
                part = Box(box.y0, x0, box.y1, x1).shift(place.y0, place.x0)
                parts.append(slide.image.read(level, part))
        return np.concatenate(parts, axis=1)

    whole = (height, starts[-1])
    image = StoredImage(
        path=slide.path,
        container=slide.image.container,
        levels=(Level(whole, 1.0, load),),
        dtype=slide.image.dtype,
        channels=slide.image.channels,
        photometric=slide.image.photometric,
    )
    mpp = slide.resolution.source_mpp
    resolution = Resolution(
        source_shape=whole,
        level=0,
        level_shape=whole,
        shape=(boxes[0].shape[0], sum(box.shape[1] for box in boxes)),
        ratio=ratio,
        level_ratio=ratio,
        source_mpp=mpp and mpp * stored.downsample,
        mpp=slide.mpp,
    )
    return Mosaic(image, resolution)
