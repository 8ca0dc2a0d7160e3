"""Time Cellpose's own post-processing on a generated scene, and count what its tiles change.

    PEER_PYTHON scripts/benchmarks/bench_stitching_cellpose.py NUCLEI.npy

Run by `bench_stitching.py --peer-python PEER_PYTHON`, in an environment that
has Cellpose (4.2.1.1 was used) with its distributed mode (`pip install
"cellpose[distributed]"`), and not nucleipel. No network runs and no weights
are needed.

`NUCLEI.npy` (H, W) are the true nuclei. From them comes the kind of map that
Cellpose's network predicts: flows (`masks_to_flows_gpu`, on the CPU, times 5 as
its network gives them) and the logit of the cell probability, both with noise of
up to 12/255, which is that of our maps.

- Timed: `resize_and_compute_masks`, as `CellposeModel.eval` calls it, with its
  defaults (200 steps, flow threshold 0.4, at least 15 px).
- Tiled: the same in the overlapping blocks of `distributed_eval`, put together
  as it does it (`get_block_crops`, `remove_overlaps`, `global_segment_ids`,
  `block_faces`, `determine_merge_relabeling`), with its overlap of two diameters
  (60 px). The network is not run: each block reads its part of the one map, as if
  the network's own tiling were exact. (Of a map with two axes the module's
  `shrink_labels` leaves nothing, in 4.2.1.1, so that nuclei on block borders are
  not merged: its result is taken as it is.)
- Counted: nuclei of the un-tiled result without a nucleus of the same pixels in
  the tiled one.

Prints one line of JSON.
"""

import numpy as np
import torch
from bench_stitching_peers import measure
from cellpose import dynamics
from cellpose.contrib import distributed_segmentation as distributed
from cellpose.version import version

NOISE = 12 / 255
BLOCK_PX, DIAMETER_PX = 1024, 30


def build_map(nuclei: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(2, H, W) float32 flows and (H, W) float32 logits of the cell probability."""
    random = np.random.default_rng(0)
    _, renumbered = np.unique(nuclei, return_inverse=True)
    masks = renumbered.reshape(nuclei.shape).astype(np.int32)
    flows = dynamics.masks_to_flows_gpu(masks, device=torch.device("cpu"))[0].astype(np.float32)
    flows += random.uniform(-NOISE, NOISE, flows.shape).astype(np.float32)
    noise = random.uniform(0.01, NOISE, nuclei.shape).astype(np.float32)
    probability = np.where(nuclei > 0, 1 - noise, noise)
    return 5 * flows, np.log(probability / (1 - probability))


def instances(flows: np.ndarray, logits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) instance map."""
    device = torch.device("cpu")
    return dynamics.resize_and_compute_masks(flows, logits, device=device).astype(np.uint32)


def tiled_instances(flows: np.ndarray, logits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) instance map, in blocks: `distributed_eval`, without network and dask."""
    block, overlap = (BLOCK_PX, BLOCK_PX), 2 * DIAMETER_PX
    indices, crops = distributed.get_block_crops(shape, block, overlap, None)
    blocks = distributed.get_nblocks(shape, block)
    out = np.zeros(shape, np.uint32)
    faces, ids = [], []
    for index, crop in zip(indices, crops, strict=True):
        part = instances(flows[(slice(None), *crop)], logits[crop], shape)
        part, trimmed = distributed.remove_overlaps(part, crop, overlap, block)
        part, numbers = distributed.global_segment_ids(part, index, blocks)
        out[tuple(trimmed)] = part
        faces.append(distributed.block_faces(part))
        ids += [number for number in numbers if number]
    relabeling = distributed.determine_merge_relabeling(indices, faces, np.array(ids))
    return relabeling[out].astype(np.int64)


if __name__ == "__main__":
    torch.set_num_threads(1)
    measure(
        f"Cellpose {version}",
        build_map=build_map,
        instances=instances,
        tiled_instances=tiled_instances,
    )
