"""Windows drawn from whole images and slides, for `train`.

The annotated images are cut, in thought, into cells of one window each. An
epoch-long stream of windows runs through all cells in a shuffled order, again
and again with another order, so that every image and every region is seen in
proportion to its area; groups of images may share the windows more evenly, by
the square roots of their areas (Mahajan et al. 2018). Each window is jittered
around its cell, and read at a random scale, so that zooming out shows what
really lies around.

Sample number `i` depends on the seed and on `i` alone: any worker can make
it, and a continued run needs to know only where it stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from nucleipel.core.geometry import Box, overlapping_tiles
from nucleipel.core.intensity import IntensityRange
from nucleipel.core.progress import track
from nucleipel.core.thinning import thin
from nucleipel.data.augment import Augment
from nucleipel.data.sample import Sample, build_sample
from nucleipel.data.sampling_order import drawn_item_of, item_of
from nucleipel.io.annotations.annotation import Annotation
from nucleipel.io.manifest import Manifest
from nucleipel.io.slides.slide_reader import Reading

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """Where an annotated image lies, and how it is read and normalized.

    `shape` is (height, width) in the working frame, `mpp` and `series` what the manifest says.
    """

    image: Path
    annotation: Annotation
    mpp: float | None
    series: int | str | None
    reading: Reading
    shape: tuple[int, int]
    intensity: IntensityRange

    def read(self, box: Box) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.integer]]:
        """Normalized (H, W, C) pixels and the (H, W) instance map of a box."""
        # opened anew for each window: handles shared by forked workers would share their position
        with (
            self.reading.open(self.image, mpp=self.mpp, series=self.series) as slide,
            self.annotation.open(slide.resolution) as annotation,
        ):
            return self.intensity.normalize(slide.read(box)), annotation.read(box)


def annotated_images(manifest: Manifest, reading: Reading) -> list[AnnotatedImage]:
    """Open every annotated image of a manifest once: its shape and its normalization.

    Raises
    ------
    ManifestError, ImageError
        If a row has no label, or an image cannot be read as `reading` says.
    """
    images = []
    for row in track(manifest.annotated().rows, "reading intensities"):
        with row.open(reading) as slide:
            images.append(
                AnnotatedImage(
                    image=row.image,
                    annotation=row.load_annotation(slide.resolution.source_shape),
                    mpp=row.mpp,
                    series=row.series,
                    reading=reading,
                    shape=slide.shape,
                    intensity=slide.intensity_range(),
                )
            )
    return images


class TrainingWindows(Dataset[Sample]):
    """An endless, numbered stream of augmented windows; `len` is where an epoch count ends it.

    `groups` are places of images that belong together, each image in one of them.
    """

    def __init__(
        self,
        images: Sequence[AnnotatedImage],
        *,
        count: int,
        window_px: int,
        scale_range: tuple[float, float],
        augment: Augment,
        channels: int,
        boundary_px: int,
        seed: int,
        groups: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.images = images
        self.cells = _cells(images, window_px)
        self.weights = _weights(self.cells, groups) if groups else None
        self.count = count
        self.window_px = window_px
        self.scale_range = scale_range
        self.augment = augment
        self.channels = channels
        self.boundary_px = boundary_px
        self.seed = seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Sample:
        image_index, cell = self.cells[self._item(number)]
        source = self.images[image_index]
        draw = np.random.default_rng([self.seed, number])
        box = _jittered(cell, source.shape, draw, scale_range=self.scale_range)
        pixels, instance_map = source.read(box)
        pixels, instance_map = _resize(pixels, instance_map, self.window_px)
        pixels, instance_map = self.augment(pixels, instance_map, seed=int(draw.integers(2**31)))
        return build_sample(
            pixels, instance_map, channels=self.channels, boundary_px=self.boundary_px
        )

    def _item(self, number: int) -> int:
        if self.weights is None:
            return item_of(number, count=len(self.cells), seed=self.seed)
        return drawn_item_of(number, weights=self.weights, seed=self.seed)


class ValidationWindows(Dataset[Sample]):
    """Windows that together show the validation images, evenly thinned to at most `limit`."""

    def __init__(
        self,
        images: Sequence[AnnotatedImage],
        *,
        limit: int,
        window_px: int,
        channels: int,
        boundary_px: int,
    ) -> None:
        self.images = images
        self.cells = thin(_cells(images, window_px), limit)
        self.channels = channels
        self.boundary_px = boundary_px

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, index: int) -> Sample:
        image_index, box = self.cells[index]
        pixels, instance_map = self.images[image_index].read(box)
        return build_sample(
            pixels, instance_map, channels=self.channels, boundary_px=self.boundary_px
        )


def _cells(images: Sequence[AnnotatedImage], window_px: int) -> list[tuple[int, Box]]:
    return [
        (index, box)
        for index, image in enumerate(images)
        for box in overlapping_tiles(image.shape, side_px=window_px, overlap_px=0)
    ]


def _weights(
    cells: Sequence[tuple[int, Box]], groups: Sequence[Sequence[int]]
) -> tuple[float, ...]:
    """Of each cell, so that those of a group have together the root of their number."""
    group_of = {image: group for group, images in enumerate(groups) for image in images}
    counts = np.bincount([group_of[image] for image, _ in cells])
    return tuple(float(counts[group_of[image]] ** -0.5) for image, _ in cells)


def _jittered(
    cell: Box,
    shape: tuple[int, int],
    draw: np.random.Generator,
    *,
    scale_range: tuple[float, float],
) -> Box:
    """The cell moved by up to half its side and resized by a random scale, kept on the image."""
    low, high = np.log(scale_range)
    scale = float(np.exp(draw.uniform(low, high)))
    side = max(1, round(cell.shape[0] / scale))
    half = cell.shape[0] // 2
    corners = []
    for start, length in zip((cell.y0, cell.x0), shape, strict=True):
        center = start + half + int(draw.integers(-half, half + 1))
        corner = center - side // 2
        # a window larger than the image is centered on it, any other stays inside
        room = length - side
        corners.append(min(max(corner, 0), room) if room >= 0 else room // 2)
    return Box(corners[0], corners[1], corners[0] + side, corners[1] + side)


def _resize(
    pixels: npt.NDArray[np.float32], instance_map: npt.NDArray[np.integer], side_px: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.integer]]:
    if pixels.shape[:2] == (side_px, side_px):
        return pixels, instance_map
    method = cv2.INTER_AREA if side_px < pixels.shape[0] else cv2.INTER_LINEAR
    size = (side_px, side_px)
    resized = cv2.resize(pixels, size, interpolation=method).reshape(*size, pixels.shape[2])
    ids = cv2.resize(instance_map.astype(np.float64), size, interpolation=cv2.INTER_NEAREST_EXACT)
    return resized, ids.astype(instance_map.dtype)
