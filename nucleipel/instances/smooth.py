"""Gaussian smoothing in integers that never looks across the border of a component."""

import numba
import numpy as np
import numpy.typing as npt

WEIGHT_BITS = 10


def gaussian_weights(sigma_px: float) -> npt.NDArray[np.int64]:
    """Integer weights of offsets 0..3 sigma; the symmetric kernel sums to 2**`WEIGHT_BITS`."""
    offsets = np.arange(int(np.ceil(3 * sigma_px)) + 1)
    shape = np.exp(-0.5 * (offsets / max(sigma_px, 1e-9)) ** 2)
    weights = np.rint(shape / (2 * shape.sum() - shape[0]) * 2**WEIGHT_BITS).astype(np.int64)
    weights[0] = 2**WEIGHT_BITS - 2 * weights[1:].sum()
    return weights


def smooth_within(
    labels: npt.NDArray[np.int32],
    values: npt.NDArray[np.int32],
    weights: npt.NDArray[np.int64],
    *,
    fraction_bits: int,
) -> npt.NDArray[np.int32]:
    """Smooth (H, W) values along rows, then columns; what is not of a pixel's component counts 0.

    Returns values times 2**`fraction_bits`; 0 outside all components. Values
    that fade towards the border make a component's middle its summit.
    """
    rows = _pass(labels, values.astype(np.int64), weights)
    columns = _pass(labels.T, rows.T, weights).T
    return (columns >> (2 * WEIGHT_BITS - fraction_bits)).astype(np.int32)


@numba.njit(cache=True)
def _pass(labels, values, weights):  # type: ignore[no-untyped-def]
    height, width = labels.shape
    smoothed = np.zeros(labels.shape, np.int64)
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label == 0:
                continue
            total = weights[0] * values[y, x]
            for offset in range(1, len(weights)):
                if x >= offset and labels[y, x - offset] == label:
                    total += weights[offset] * values[y, x - offset]
                if x + offset < width and labels[y, x + offset] == label:
                    total += weights[offset] * values[y, x + offset]
            smoothed[y, x] = total
    return smoothed
