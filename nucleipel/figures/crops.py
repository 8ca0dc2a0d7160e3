"""Pieces of an image for a page: JPEG as data URI, outlines as SVG paths over it."""

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.measured_nuclei import Outline

ReadPicture = Callable[[Box], npt.NDArray[np.uint8]]
"""The (h, w, 3) uint8 picture of a box that lies on the image."""

JPEG_QUALITY = 82
LARGEST_CROP_PX = 1024
SHOWN_PX = 320


@dataclass(frozen=True, slots=True)
class Crop:
    """A square piece of an image.

    Parameters
    ----------
    picture : str
        Data URI, at most `SHOWN_PX` wide (fields: not made smaller).
    view : str
        The SVG view box, in pixels of the image.
    box : Box
        Where it lies.
    path, others : str
        SVG paths, in pixels of the image: the nucleus it is about, and all others.
    """

    picture: str
    view: str
    box: Box
    path: str
    others: str = ""


def data_uri(picture: npt.NDArray[np.uint8], *, quality: int = JPEG_QUALITY) -> str:
    """A (h, w, 3) RGB picture as a JPEG in a data URI."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def cut(
    read: ReadPicture,
    box: Box,
    outline: Outline,
    *,
    others: Iterable[Outline] = (),
    shown_px: int | None = SHOWN_PX,
) -> Crop:
    """Read a box that lies on the image; make the picture no larger than `shown_px`."""
    picture = read(box)
    largest = max(picture.shape[:2])
    if shown_px is not None and largest > shown_px:
        factor = shown_px / largest
        picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    height, width = box.shape
    return Crop(
        picture=data_uri(picture),
        view=f"{box.x0} {box.y0} {width} {height}",
        box=box,
        path=svg_path([outline]),
        others=svg_path(others),
    )


def square_around(box: Box, side_px: int, shape: tuple[int, int]) -> Box:
    """The square of `side_px` around the middle of a box, moved onto an image of (height, width).

    >>> square_around(Box(0, 40, 4, 44), 20, (100, 50))
    Box(y0=0, x0=30, y1=20, x1=50)
    """
    starts = [
        min(max((low + high - side_px) // 2, 0), max(length - side_px, 0))
        for low, high, length in ((box.y0, box.y1, shape[0]), (box.x0, box.x1, shape[1]))
    ]
    return Box(starts[0], starts[1], starts[0] + side_px, starts[1] + side_px).clip(shape)


def common_side(boxes: Sequence[Box], *, least_px: int) -> int:
    """One side for the crops of a group, so that all its nuclei have one scale."""
    longest = max((max(box.shape) for box in boxes), default=0)
    return min(max(least_px, round(1.5 * longest)), LARGEST_CROP_PX)


def svg_path(outlines: Iterable[Outline]) -> str:
    """The rings of outlines as the `d` of one SVG path, to half a pixel."""
    rings = (ring for outline in outlines for polygon in outline for ring in polygon)
    return "".join(f"M{_corners(ring)}Z" for ring in rings)


def _corners(ring: npt.NDArray[Any]) -> str:
    return " ".join(f"{x:g},{y:g}" for y, x in ring.tolist())
