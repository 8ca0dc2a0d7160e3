"""Probabilities as integers, so that decisions are made on the values that are stored."""

import numpy as np
import numpy.typing as npt


def quantize(probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Round probabilities in [0, 1], of any shape, to uint8 in 0..255, each on its own.

    The channels of a pixel need not add up to 255 afterwards.
    """
    return np.rint(probabilities * np.float32(255)).astype(np.uint8)
