"""Cellpose on images, as one process; started by `bench_peers.py` in Cellpose's own environment.

    PEER_PYTHON scripts/benchmarks/peers/run_cellpose.py run OUT MAPS IMAGE ...

Cellpose-SAM with its own post-processing, where its weights are there or can be downloaded. Where
they cannot, the network alone, with random weights, on one window of 256 px an image, nothing
found and nothing written: a lower bound. Prints JSON. MAPS are not used.
"""

import json
import sys
from pathlib import Path

import numpy as np

WINDOW_PX = 256


def run(out: Path, images: list[Path]) -> None:
    """Segment images."""
    from skimage.io import imread

    pixels = [imread(path) for path in images]
    pixels = [np.stack([p] * 3, axis=-1) if p.ndim == 2 else p[..., :3] for p in pixels]
    try:
        nuclei, remark = _segment(out, images, pixels), "its own weights"
    except (OSError, RuntimeError) as error:
        _network_alone(len(images))
        nuclei, remark = None, f"network alone, a window an image: {str(error)[:60]}"
    sys.stdout.write(json.dumps({"nuclei": nuclei, "remark": remark}) + "\n")


def _segment(out: Path, images: list[Path], pixels: list[np.ndarray]) -> int:
    from cellpose.models import CellposeModel
    from tifffile import imwrite

    model, found = CellposeModel(gpu=False), 0
    for path, image in zip(images, pixels, strict=True):
        labels = model.eval(image)[0]
        imwrite(out / f"{path.stem}.tif", labels.astype(np.uint32), compression="zlib")
        found += int(labels.max())
    return found


def _network_alone(windows: int) -> None:
    import torch
    from cellpose.vit_sam import Transformer

    network = Transformer(dtype=torch.float32).eval()
    with torch.inference_mode():
        for _ in range(windows):
            network(torch.rand(1, 3, WINDOW_PX, WINDOW_PX))


if __name__ == "__main__":
    run(Path(sys.argv[2]), [Path(path) for path in sys.argv[4:]])
