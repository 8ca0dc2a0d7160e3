"""A hash of a map that blocks can be added to in any order."""

import numpy as np
import numpy.typing as npt

from nucleipel.core.compiled import compiled

_FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xFF51AFD7ED558CCD)


def digest(values: npt.NDArray[np.uint32], *, origin: tuple[int, int], width: int) -> int:
    """Sum modulo 2**64 of a hash of the position and value of each pixel that is not 0.

    `values` is an (h, w) part at `origin` (y, x) of a map `width` px wide; the
    digests of the parts of any partition add up to the digest of the map, and
    a part of zeros need not be read.
    Against accidents only, not against an adversary. With p = y * width + x:
    h = p * F0 ^ v * F1; h ^= h >> 32; h *= F2; h ^= h >> 29, all modulo 2**64,
    F0 .. F2 the usual odd constants of splitmix64, xxHash64 and MurmurHash3.
    """
    return int(_digest(np.ascontiguousarray(values), origin[0], origin[1], width))


@compiled
def _digest(values, y0, x0, width):  # type: ignore[no-untyped-def]
    total = np.uint64(0)
    for y in range(values.shape[0]):
        start = np.uint64(y0 + y) * np.uint64(width) + np.uint64(x0)
        for x in range(values.shape[1]):
            if values[y, x] == 0:
                continue
            position = start + np.uint64(x)
            mixed = position * np.uint64(_FACTORS[0]) ^ np.uint64(values[y, x]) * np.uint64(
                _FACTORS[1]
            )
            mixed ^= mixed >> np.uint64(32)
            mixed *= np.uint64(_FACTORS[2])
            total += mixed ^ (mixed >> np.uint64(29))
    return total


@compiled
def foreground_and_digest(probabilities, percent, y0, x0, width):  # type: ignore[no-untyped-def]
    """(h, w) uint8 foreground of a (3 or 4, h, w) map, and the digest of its packed channels.

    In the digest a pixel that is certainly background, (255, 0, 0, 0), counts as 0.

    Foreground: interior + boundary against background exceed `percent`.
    """
    background, interior, boundary = probabilities[0], probabilities[1], probabilities[2]
    has_distance = len(probabilities) > 3
    foreground = np.empty(background.shape, np.uint8)
    total = np.uint64(0)
    for y in range(background.shape[0]):
        start = np.uint64(y0 + y) * np.uint64(width) + np.uint64(x0)
        for x in range(background.shape[1]):
            outside = np.int32(background[y, x])
            nucleus = np.int32(interior[y, x]) + np.int32(boundary[y, x])
            foreground[y, x] = nucleus * (100 - percent) > outside * percent
            packed = (
                np.uint64(outside)
                | np.uint64(interior[y, x]) << np.uint64(8)
                | np.uint64(boundary[y, x]) << np.uint64(16)
            )
            if packed == 255 and not (has_distance and probabilities[3, y, x]):
                continue
            if has_distance:  # and a bit more, so that no distance is not a distance of 0
                packed |= np.uint64(probabilities[3, y, x]) << np.uint64(24)
                packed |= np.uint64(1) << np.uint64(32)
            position = start + np.uint64(x)
            mixed = position * np.uint64(_FACTORS[0]) ^ packed * np.uint64(_FACTORS[1])
            mixed ^= mixed >> np.uint64(32)
            mixed *= np.uint64(_FACTORS[2])
            total += mixed ^ (mixed >> np.uint64(29))
    return foreground, total
