"""Time StarDist's own post-processing on a generated scene, and count what its tiles change.

    PEER_PYTHON scripts/benchmarks/bench_stitching_stardist.py NUCLEI.npy

Run by `bench_stitching.py --peer-python PEER_PYTHON`, in an environment that
has StarDist (0.9.2 was used) and not nucleipel. StarDist's post-processing needs
no TensorFlow: `pip install --no-deps stardist csbdeep`, then `pip install numpy
scipy scikit-image numba tqdm matplotlib imageio tifffile packaging h5py`.

`NUCLEI.npy` (H, W) are the true nuclei. From them comes the kind of map that
StarDist's network predicts, on its default models' grid of 2 px: the object
probability (`edt_prob`) and the distances to the edge along 32 rays
(`star_dist`), both with noise of up to 12/255, which is that of our maps.

- Timed: `non_maximum_suppression` and `polygons_to_label`, as
  `StarDist2D._instances_from_prediction` calls them, with the thresholds of the
  model `2D_versatile_fluo`.
- Tiled: the same in overlapping blocks put together as `predict_instances_big`
  does it (`BlockND.cover`, `crop_context`, `filter_objects`, `write`), with the
  overlap and context of its docstring's example, 128 px each. The network is
  not run: each block reads its part of the one map, as if the network's own
  tiling were exact.
- Counted: nuclei of the un-tiled result without a nucleus of the same pixels in
  the tiled one.

Prints one line of JSON.
"""

from typing import Any

import numpy as np
import stardist
from bench_stitching_peers import measure
from skimage.segmentation import relabel_sequential
from stardist.big import BlockND
from stardist.geometry import dist_to_coord, polygons_to_label, star_dist
from stardist.nms import non_maximum_suppression
from stardist.utils import edt_prob

GRID = (2, 2)
RAYS = 32
PROBABILITY, OVERLAP = 0.479071, 0.3  # thresholds of 2D_versatile_fluo
NOISE = 12 / 255
BLOCK_PX, OVERLAP_PX, CONTEXT_PX = 1024, 128, 128


def build_map(nuclei: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(h, w) float32 probability and (h, w, `RAYS`) float32 distances, on the grid."""
    random = np.random.default_rng(0)
    step = tuple(slice(0, None, grid) for grid in GRID)
    probability = edt_prob(nuclei)[step].astype(np.float32)
    distances = star_dist(nuclei, RAYS, grid=GRID)
    inside = probability > 0
    probability[inside] += random.uniform(-NOISE, NOISE, inside.sum()).astype(np.float32)
    for ray in range(RAYS):
        noise = random.uniform(-NOISE, NOISE, inside.sum()).astype(np.float32)
        distances[inside, ray] *= 1 + noise
    return np.clip(probability, 0, 1), np.maximum(distances, 1e-3)


def instances(
    probability: np.ndarray, distances: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Instance map of `shape` (px) and polygons, from maps on the grid."""
    points, scores, rays = non_maximum_suppression(
        distances, probability, grid=GRID, prob_thresh=PROBABILITY, nms_thresh=OVERLAP
    )
    labels = polygons_to_label(rays, points, prob=scores, shape=shape)
    return labels, {"coord": dist_to_coord(rays, points), "points": points, "prob": scores}


def tiled_instances(
    probability: np.ndarray, distances: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Instance map, in blocks: the loop of `predict_instances_big`, without the network."""
    out = np.zeros(shape, np.int32)
    offset = 1
    for block in BlockND.cover(shape, "YX", BLOCK_PX, OVERLAP_PX, CONTEXT_PX, GRID):
        read = block.slice_read("YX")
        part = tuple(
            slice(side.start // grid, -(-side.stop // grid))
            for side, grid in zip(read, GRID, strict=True)
        )
        size = tuple(side.stop - side.start for side in read)
        labels, polygons = instances(probability[part], distances[part], size)
        labels, polygons = block.filter_objects(
            block.crop_context(labels, axes="YX"), polygons, axes="YX"
        )
        block.write(out, relabel_sequential(labels, offset)[0], axes="YX")
        offset += len(polygons["prob"])
    return out


if __name__ == "__main__":
    measure(
        f"StarDist {stardist.__version__}",
        build_map=build_map,
        instances=lambda *maps: instances(*maps)[0],
        tiled_instances=tiled_instances,
    )
