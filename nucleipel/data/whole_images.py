"""Whole images, each resized to one square, for `train` with `whole_images`.

This is how networks for small images are often trained, and what PEL's author
starts from. Images of several sizes then show nuclei at several scales, and
lose their proportions; `windows` and patches keep both.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from nucleipel.core.geometry import Box
from nucleipel.core.resample import centers
from nucleipel.core.thinning import thin
from nucleipel.data.augment import Augment
from nucleipel.data.sample import AnnotatedPixels, Sample, build_sample
from nucleipel.data.sampling_order import item_of
from nucleipel.data.windows import AnnotatedImage


class WholeTrainingImages(Dataset[Sample]):
    """An endless, numbered stream of augmented images: every image once, then again reshuffled."""

    def __init__(
        self,
        images: Sequence[AnnotatedImage],
        *,
        count: int,
        side_px: int,
        augment: Augment,
        channels: int,
        boundary_px: int,
        seed: int,
    ) -> None:
        self.images = images
        self.count = count
        self.side_px = side_px
        self.augment = augment
        self.channels = channels
        self.boundary_px = boundary_px
        self.seed = seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Sample:
        image = self.images[item_of(number, count=len(self.images), seed=self.seed)]
        draw = np.random.default_rng([self.seed, number])
        whole = _read_square(image, self.side_px)
        shown = self.augment(*whole, seed=int(draw.integers(2**31)))
        return build_sample(shown, channels=self.channels, boundary_px=self.boundary_px)


class WholeValidationImages(Dataset[Sample]):
    """The validation images, evenly thinned to at most `limit`."""

    def __init__(
        self,
        images: Sequence[AnnotatedImage],
        *,
        limit: int,
        side_px: int,
        channels: int,
        boundary_px: int,
    ) -> None:
        self.images = thin(images, limit)
        self.side_px = side_px
        self.channels = channels
        self.boundary_px = boundary_px

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        shown = _read_square(self.images[index], self.side_px)
        return build_sample(shown, channels=self.channels, boundary_px=self.boundary_px)


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


def _read_square(image: AnnotatedImage, side_px: int) -> AnnotatedPixels:
    pixels, instance_map, counted = image.read(Box.of_shape(image.shape))
    square = (side_px, side_px)
    return AnnotatedPixels(
        resize(pixels, square),
        resize_ids(instance_map, square),
        None if counted is None else resize_ids(counted, square),
    )
