"""Measure a peer's post-processing, in the same way for each; needs NumPy only."""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def measure(
    name: str,
    *,
    build_map: Callable[[np.ndarray], tuple[np.ndarray, ...]],
    instances: Callable[..., np.ndarray],
    tiled_instances: Callable[..., np.ndarray],
) -> None:
    """Make the peer's map of the nuclei in the file that the command line names; time, tile, print.

    Both functions of instances take the arrays of `build_map`, then the shape
    of the scene, and give its (H, W) instance map.
    """
    nuclei = np.load(sys.argv[1]).astype(np.int32)
    maps = build_map(nuclei)
    start = time.process_time()
    whole = instances(*maps, nuclei.shape)
    seconds = time.process_time() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    tiled = tiled_instances(*maps, nuclei.shape)
    result: dict[str, Any] = {
        "name": name,
        "seconds": seconds,
        "nuclei": len(np.unique(whole)) - 1,
        "true": len(np.unique(nuclei)) - 1,
        "peak_mb": peak_mb,
        "tiled_nuclei": len(np.unique(tiled)) - 1,
        "changed": changed(whole, tiled),
    }
    sys.stdout.write(json.dumps(result) + "\n")


def changed(whole: np.ndarray, tiled: np.ndarray) -> int:
    """Count nuclei of one map that have no nucleus of exactly the same pixels in the other."""
    pairs, counts = np.unique(
        np.stack([whole[whole > 0], tiled[whole > 0]]), axis=1, return_counts=True
    )
    area, other_area = np.bincount(whole.ravel()), np.bincount(tiled.ravel())
    same = (pairs[1] > 0) & (counts == area[pairs[0]]) & (counts == other_area[pairs[1]])
    return int((area[1:] > 0).sum() - same.sum())
