"""A watershed without a queue: steepest ascent to peaks, then basins merged by persistence.

Pixels are ordered by (height, squared distance, earlier raster position), a
strict total order, and so are saddles (height, then the lower and the higher
peak): nothing is left to the order of processing. Persistence: Edelsbrunner,
Letscher, Zomorodian 2002.
"""

import numba
import numpy as np
import numpy.typing as npt


def pixel_parents(
    labels: npt.NDArray[np.int32],
    height: npt.NDArray[np.int32],
    distance2: npt.NDArray[np.int32],
) -> npt.NDArray[np.int64]:
    """For each pixel the flat index of its highest neighbor of the same component.

    (H, W) in and out. A peak is its own parent; background has -1.
    """
    parents: npt.NDArray[np.int64] = _parents(labels, height, distance2)
    return parents


def basins_of(
    parents: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Number the basins of a forest from 0, in raster order of peaks.

    Returns the (H, W) basin of each pixel (-1 in the background) and the flat
    index of each basin's peak.
    """
    basins, peaks = _climb(parents.ravel())
    return basins.reshape(parents.shape), peaks


def merge_basins(
    height: npt.NDArray[np.int32],
    distance2: npt.NDArray[np.int32],
    basins: npt.NDArray[np.int64],
    peaks: npt.NDArray[np.int64],
    *,
    persistence: int,
) -> npt.NDArray[np.int32]:
    """Join basins over saddles less than `persistence` below the lower peak.

    Returns an (H, W) map: 0 background, basin groups numbered from 1.
    """
    peak_height, peak_distance2 = height.ravel()[peaks], distance2.ravel()[peaks]
    # the first key of lexsort is the last criterion; rank 0 is the highest peak
    order = np.lexsort((peaks, -peak_distance2, -peak_height))
    rank = np.empty(len(peaks), np.int64)
    rank[order] = np.arange(len(peaks))
    saddle, one, other = _saddles(height, basins)
    low = np.maximum(rank[one], rank[other])
    high = np.minimum(rank[one], rank[other])
    sequence = np.lexsort((high, low, -saddle))
    group = _join(saddle[sequence], low[sequence], high[sequence], peak_height[order], persistence)
    numbered = np.append(group[rank] + 1, 0).astype(np.int32)  # basin -1 is background
    return numbered[basins]


@numba.njit(cache=True)
def _parents(labels, height, distance2):  # type: ignore[no-untyped-def]
    rows, columns = labels.shape
    parents = np.full(labels.shape, -1, np.int64)
    for y in range(rows):
        for x in range(columns):
            label = labels[y, x]
            if label == 0:
                continue
            best_y, best_x = y, x
            # in raster order, so that among equals the earliest stays
            for v in range(max(y - 1, 0), min(y + 2, rows)):
                for u in range(max(x - 1, 0), min(x + 2, columns)):
                    if labels[v, u] != label:
                        continue
                    rise = height[v, u] - height[best_y, best_x]
                    if rise == 0:
                        rise = distance2[v, u] - distance2[best_y, best_x]
                    if rise > 0 or (rise == 0 and (v, u) < (best_y, best_x)):
                        best_y, best_x = v, u
            parents[y, x] = np.int64(best_y) * columns + best_x
    return parents


@numba.njit(cache=True)
def _climb(parents):  # type: ignore[no-untyped-def]
    basins = np.full(parents.shape, -1, np.int64)
    peaks = np.flatnonzero(parents == np.arange(len(parents)))
    basins[peaks] = np.arange(len(peaks))
    for start in range(len(parents)):
        if parents[start] < 0:
            continue
        top = start
        while basins[top] < 0:
            top = parents[top]
        at = start
        while basins[at] < 0:
            basins[at] = basins[top]
            at = parents[at]
    return basins, peaks


def _saddles(
    height: npt.NDArray[np.int32], basins: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Height and the two basins of each pair of neighboring pixels that lie in two basins."""
    rows, columns = basins.shape
    saddle, one, other = [], [], []
    for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):
        here = np.s_[: rows - dy, max(-dx, 0) : columns - max(dx, 0)]
        there = np.s_[dy:, max(dx, 0) : columns - max(-dx, 0)]
        meet = (basins[here] != basins[there]) & (basins[here] >= 0) & (basins[there] >= 0)
        saddle.append(np.minimum(height[here][meet], height[there][meet]))
        one.append(basins[here][meet])
        other.append(basins[there][meet])
    return np.concatenate(saddle), np.concatenate(one), np.concatenate(other)


@numba.njit(cache=True)
def _join(saddle, low, high, peak_height, persistence):  # type: ignore[no-untyped-def]
    """Group of each peak, by rank: the rank of the highest peak that it was joined to."""
    group = np.arange(len(peak_height))
    for index in range(len(saddle)):
        one, other = low[index], high[index]
        while group[one] != one:
            group[one] = group[group[one]]
            one = group[one]
        while group[other] != other:
            group[other] = group[group[other]]
            other = group[other]
        if one == other:
            continue
        lower, higher = max(one, other), min(one, other)
        if peak_height[lower] - saddle[index] < persistence:
            group[lower] = higher
    for peak in range(len(group)):  # groups have lower ranks, so theirs are final already
        group[peak] = group[group[peak]]
    return group
