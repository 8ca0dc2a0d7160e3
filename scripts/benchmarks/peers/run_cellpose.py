"""Cellpose on images, as one process; started by `bench_peers.py` in Cellpose's own environment.

    PEER_PYTHON scripts/benchmarks/peers/run_cellpose.py prepare MAPS NUCLEI.tif ...
    PEER_PYTHON scripts/benchmarks/peers/run_cellpose.py run OUT MAPS IMAGE ...

`run`: Cellpose-SAM with its own windows and post-processing, then the label map as TIFF. Prints the
number of nuclei as JSON.

Where its weights are not at hand and cannot be downloaded, `prepare` writes random ones by which no
pixel is in a nucleus. The post-processing then has nothing to do: the time is a lower bound.
"""

import json
import sys
from pathlib import Path

import numpy as np

WEIGHTS = "cellpose_random"
OUTSIDE = -9.0
"""The logit of every pixel with random weights."""


def prepare(maps: Path) -> None:
    """Write random weights where Cellpose's own cannot be had."""
    import torch
    from cellpose.models import CellposeModel
    from cellpose.vit import CPSAM

    try:
        CellposeModel(gpu=False)
    except OSError:
        network = CPSAM()
        with torch.no_grad():
            network.out.weight.zero_()
            network.out.bias.fill_(OUTSIDE)
        torch.save(network.state_dict(), maps / WEIGHTS)


def run(out: Path, maps: Path, images: list[Path]) -> None:
    """Segment images."""
    from cellpose.models import CellposeModel
    from skimage.io import imread
    from tifffile import imwrite

    random = (maps / WEIGHTS).is_file()
    known = {"pretrained_model": str(maps / WEIGHTS)} if random else {}
    model, found = CellposeModel(gpu=False, **known), 0
    for path in images:
        pixels = imread(path)
        pixels = np.stack([pixels] * 3, axis=-1) if pixels.ndim == 2 else pixels[..., :3]
        labels = model.eval(pixels)[0]
        imwrite(out / f"{path.stem}.tif", labels.astype(np.uint32), compression="zlib")
        found += int(labels.max())
    remark = "random weights, nothing found" if random else "its own weights"
    sys.stdout.write(json.dumps({"nuclei": found, "remark": remark}) + "\n")


if __name__ == "__main__":
    command, folder, *paths = sys.argv[1:]
    if command == "prepare":
        prepare(Path(folder))
    else:
        run(Path(folder), Path(paths[0]), [Path(path) for path in paths[1:]])
