"""How sure a network is, and how far it disagrees with its own result: whether it knows an image.

A network with a distance map says two things of each nucleus: which pixels are in it, and how far
they lie from its edge. Where nuclei look as in training, the distances measured in the result
are those that were predicted.

All is summed in integers, so parts of an image add up in any order.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucleipel.instances.training_targets import BACKGROUND, DISTANCE, distance_target

HALF = 127
"""Background in a uint8 map of at most this much is more likely a nucleus."""


@dataclass(frozen=True)
class Certainty:
    """Sums over pixels: foreground probability of 255, that of `px` likely pixels, their number."""

    foreground: int = 0
    likely: int = 0
    px: int = 0

    def __add__(self, other: "Certainty") -> "Certainty":
        return Certainty(
            self.foreground + other.foreground, self.likely + other.likely, self.px + other.px
        )

    @property
    def dice(self) -> float:
        """Dice of the probability with its own mask of likely pixels: 1 where all is sure.

        Where no pixel is likely it is 1, too: nothing is there.
        """
        return 2 * self.likely / (self.foreground + 255 * self.px) if self.px else 1.0


def certainty(probabilities: npt.NDArray[np.uint8]) -> Certainty:
    """Sum how sure a (C, H, W) map, whose first channel is background, is of what is nucleus.

    >>> certainty(np.array([[[255, 0, 0, 255]]], np.uint8)).dice
    1.0
    """
    foreground = 255 - probabilities[BACKGROUND].astype(np.int64)
    likely = probabilities[BACKGROUND] <= HALF
    return Certainty(int(foreground.sum()), int(foreground[likely].sum()), int(likely.sum()))


@dataclass(frozen=True)
class Disagreement:
    """Absolute differences of two distances, of 255, summed over `px` pixels, some of nuclei."""

    total: int = 0
    px: int = 0
    nuclei_px: int = 0

    def __add__(self, other: "Disagreement") -> "Disagreement":
        return Disagreement(
            self.total + other.total, self.px + other.px, self.nuclei_px + other.nuclei_px
        )

    @property
    def mean(self) -> float | None:
        """Mean difference, 0 to 1; None where there is no nucleus."""
        return self.total / (255 * self.px) if self.nuclei_px else None


def disagreement(
    probabilities: npt.NDArray[np.uint8], instance_map: npt.NDArray[np.integer]
) -> Disagreement:
    """Compare the distance of a (4, H, W) map with that in its own (H, W) instance map.

    Over the pixels of nuclei, and those that are more likely in one than not.

    >>> sure = np.zeros((4, 1, 5), np.uint8)
    >>> sure[0], sure[3] = [[255, 0, 0, 0, 255]], [[0, 128, 255, 128, 0]]
    >>> disagreement(sure, np.array([[0, 1, 1, 1, 0]])).mean
    0.0
    """
    measured = np.rint(255 * distance_target(instance_map)).astype(np.int64)
    inside = instance_map > 0
    counted = inside | (probabilities[BACKGROUND] <= HALF)
    differences = np.abs(measured - probabilities[DISTANCE])[counted]
    return Disagreement(int(differences.sum()), int(counted.sum()), int(inside.sum()))
