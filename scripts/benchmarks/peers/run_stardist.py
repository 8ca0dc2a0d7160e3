"""StarDist on images, as one process; started by `bench_peers.py` in StarDist's own environment.

    PEER_PYTHON scripts/benchmarks/peers/run_stardist.py prepare MAPS NUCLEI.tif ...
    PEER_PYTHON scripts/benchmarks/peers/run_stardist.py run OUT MAPS IMAGE ...

`run`: the network of the model `2D_versatile_he` (32 rays, grid of 2 px, RGB) on each image, in
tiles of at most 1024 px, then StarDist's own non-maximum suppression and drawing, then
the label map as TIFF. The weights are random: nothing can be found in what such a network predicts,
so that the nuclei come from the maps that `prepare` made of known nuclei, one a file, as
`bench_stitching_stardist.py` does. Prints the number of nuclei as JSON.
"""

from pathlib import Path

import numpy as np
from command import main, read_rgb, write_labels

TILE_PX = 1024
RAYS, GRID = 32, (2, 2)
THRESHOLDS = {"prob_thresh": 0.692478, "nms_thresh": 0.3}
"""The thresholds that 2D_versatile_he comes with."""


def prepare(maps: Path, nuclei: list[Path]) -> None:
    """Write object probabilities and star distances of known nuclei, by the names of the files."""
    from stardist.geometry import star_dist
    from stardist.utils import edt_prob
    from tifffile import imread

    for path in nuclei:
        known = imread(path).astype(np.int32)
        probability = edt_prob(known)[:: GRID[0], :: GRID[1]].astype(np.float32)
        np.savez(
            maps / f"{path.parent.name}.npz", p=probability, d=star_dist(known, RAYS, grid=GRID)
        )


def run(out: Path, maps: Path, images: list[Path]) -> tuple[int, str]:
    """Segment images; return the number of nuclei, and a remark."""
    from csbdeep.utils import normalize
    from stardist.models import Config2D, StarDist2D

    model = StarDist2D(Config2D(n_rays=RAYS, grid=GRID, n_channel_in=3), basedir=None)
    found = 0
    for path in images:
        pixels = read_rgb(path)
        tiles = tuple(-(-length // TILE_PX) for length in pixels.shape[:2])
        model.predict(
            normalize(pixels, 1, 99.8, axis=(0, 1)), n_tiles=(*tiles, 1), show_tile_progress=False
        )
        with np.load(maps / f"{path.stem}.npz") as known:
            labels, _ = model._instances_from_prediction(
                pixels.shape[:2], known["p"], known["d"], **THRESHOLDS
            )
        write_labels(out, path, labels)
        found += int(labels.max())
    return found, "random weights, known maps"


if __name__ == "__main__":
    main(prepare, run)
