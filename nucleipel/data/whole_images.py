"""Whole images, each resized to one square, for `train` with `whole_images`.

This is how networks for small images are often trained, and what PEL's author
starts from. Images of several sizes then show nuclei at several scales, and
lose their proportions; `windows` and patches keep both.
"""

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from nucleipel.core.evenly_spaced import thin
from nucleipel.core.geometry import Box
from nucleipel.core.resize import resize, resize_ids
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


def _read_square(image: AnnotatedImage, side_px: int) -> AnnotatedPixels:
    pixels, instance_map, counted = image.read(Box.of_shape(image.shape))
    square = (side_px, side_px)
    return AnnotatedPixels(
        resize(pixels, square),
        resize_ids(instance_map, square),
        None if counted is None else resize_ids(counted, square),
    )
