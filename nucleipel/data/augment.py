"""Augmentation of normalized images, image and instance map moved together.

Geometry moves both; intensity touches the image alone; stain jitter needs
color. Every draw comes from the seed of the sample, so that a sample
is the same whichever worker makes it and wherever a run was continued.
"""

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network on import

import albumentations as A
import cv2

from nucleipel.data.artificial_staining import as_nuclear_dye, as_stained, is_gray
from nucleipel.data.crowding import crowded
from nucleipel.data.sample import AnnotatedPixels
from nucleipel.data.uneven_light import uneven_nuclei, veiled

COARSER = (0.4, 0.9)
"""Range of the resolution that `coarse` leaves, as a share of what was there."""


@dataclass(frozen=True)
class Augment:
    """Draws one variant of a sample.

    Parameters
    ----------
    rotate_degrees : float
        Largest free rotation, besides flips and quarter turns; 0 for none.
    intensity : float
        Strength of brightness, contrast, gamma, noise and blur; 0 for none, 1 is usual.
    stain : float
        Strength of stain and hue jitter on color images; 0 for none, 1 is usual.
    gray_stained : float
        Share of the gray images that are shown as if stained (`staining`).
    crowded : float
        Share of the gray images that are shown with more nuclei (`crowding`).
    as_dye : float
        Share of the color images, those among them that were gray, that are
        shown as the gray of their nuclear dye.
    uneven : float
        Share of the gray images whose nuclei get a contrast each of its own (`uneven_light`).
    veiled : float
        Share of the images that are shown below a smooth veil (`uneven_light`).
    coarse : float
        Share of the images that are shown as if they had been taken at a coarser resolution.
    """

    rotate_degrees: float
    intensity: float
    stain: float
    gray_stained: float = 0.0
    crowded: float = 0.0
    as_dye: float = 0.0
    uneven: float = 0.0
    veiled: float = 0.0
    coarse: float = 0.0

    def __call__(
        self,
        image: npt.NDArray[np.float32],
        instance_map: npt.NDArray[np.integer],
        counted: npt.NDArray[np.bool_] | None = None,
        *,
        seed: int,
    ) -> AnnotatedPixels:
        """Give one variant of what `AnnotatedPixels` hold, all moved alike.

        Ids may be renumbered; which pixels share an instance is what is kept.
        """
        ids = np.unique(instance_map, return_inverse=True)[1].reshape(instance_map.shape)
        if instance_map.min() > 0:
            ids = ids + 1  # no background in this window: 0 must stay free
        color = image.shape[-1] == 3
        of_gray = self.crowded or self.uneven or self.gray_stained or self.as_dye
        gray = of_gray and is_gray(image)
        if gray and self.crowded:
            draw = np.random.default_rng([seed, 2])
            if draw.random() < self.crowded:
                image, ids = crowded(image, ids, draw)
        if gray and self.uneven:
            draw = np.random.default_rng([seed, 4])
            if draw.random() < self.uneven:
                image = uneven_nuclei(image, ids, draw)
        if gray and color and self.gray_stained:
            draw = np.random.default_rng([seed, 1])
            if draw.random() < self.gray_stained:
                image, gray = as_stained(image, draw), False
        if color and not gray and self.as_dye:
            draw = np.random.default_rng([seed, 3])
            if draw.random() < self.as_dye:
                image, color = as_nuclear_dye(image), False
        if self.veiled:
            draw = np.random.default_rng([seed, 5])
            if draw.random() < self.veiled:
                image = veiled(image, draw)
        pipeline = self._pipeline(color=color)
        pipeline.set_random_seed(seed)
        further = {} if counted is None else {"masks": [counted.astype(np.uint8)]}
        moved = pipeline(image=image, mask=ids.astype(np.uint16), **further)
        if counted is not None:
            counted = moved["masks"][0] > 0
        return AnnotatedPixels(moved["image"], moved["mask"], counted)

    def _pipeline(self, *, color: bool) -> A.Compose:
        steps: list[A.BasicTransform | A.BaseCompose] = [A.D4(p=1)]
        if self.rotate_degrees:
            mirror = cv2.BORDER_REFLECT_101
            steps.append(A.Rotate(self.rotate_degrees, border_mode=mirror, p=0.3))
        if self.coarse:
            steps.append(_coarser(self.coarse))
        if color and self.stain:
            steps.append(_stain_jitter(self.stain))
        if self.intensity:
            steps += _intensity_jitter(self.intensity)
        return A.Compose(steps)


def _stain_jitter(strength: float) -> A.BasicTransform:
    return A.OneOf(
        [
            A.HEStain(
                method="random_preset",
                intensity_scale_range=(1 - 0.3 * strength, 1 + 0.3 * strength),
                intensity_shift_range=(-0.2 * strength, 0.2 * strength),
            ),
            A.ColorJitter(
                brightness=(1, 1),
                contrast=(1, 1),
                saturation=(max(0, 1 - 0.5 * strength), 1 + 0.5 * strength),
                hue=(-0.08 * strength, 0.08 * strength),
            ),
        ],
        p=0.5,
    )


def _coarser(share: float) -> A.BasicTransform:
    down_and_up = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}
    return A.Downscale(scale_range=COARSER, interpolation_pair=down_and_up, p=share)


def _intensity_jitter(strength: float) -> list[A.BasicTransform]:
    limit = 0.25 * strength
    gamma = int(50 * strength)
    return [
        A.RandomBrightnessContrast(brightness_limit=limit, contrast_limit=limit, p=0.6),
        A.RandomGamma(gamma_limit=(100 - gamma, 100 + 2 * gamma), p=0.5),
        A.GaussianBlur(blur_limit=0, sigma_limit=(0.3, 0.3 + 1.2 * strength), p=0.2),
        A.GaussNoise(std_range=(0.0, 0.06 * strength), per_channel=False, p=0.3),
    ]
