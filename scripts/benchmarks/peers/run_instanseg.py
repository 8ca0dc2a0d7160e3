"""InstanSeg on images, as one process; started by `bench_peers.py` in InstanSeg's own environment.

    PEER_PYTHON scripts/benchmarks/peers/run_instanseg.py run OUT MAPS IMAGE ...

Its model `brightfield_nuclei` with its own post-processing, without rescaling; the label map
as TIFF. The model must be there or be downloadable: random weights would find nothing, and so
would its post-processing. Prints the number of nuclei as JSON. MAPS are not used.
"""

import json
import sys
from pathlib import Path

import numpy as np


def run(out: Path, images: list[Path]) -> None:
    """Segment images."""
    from instanseg import InstanSeg
    from skimage.io import imread
    from tifffile import imwrite

    model = InstanSeg("brightfield_nuclei", device="cpu", verbosity=0)
    found = 0
    for path in images:
        pixels = imread(path)
        pixels = np.stack([pixels] * 3, axis=-1) if pixels.ndim == 2 else pixels[..., :3]
        segment = model.eval_medium_image if max(pixels.shape) > 1024 else model.eval_small_image
        labels = np.asarray(segment(pixels, None, return_image_tensor=False)).squeeze()
        imwrite(out / f"{path.stem}.tif", labels.astype(np.uint32), compression="zlib")
        found += len(np.unique(labels)) - 1
    sys.stdout.write(json.dumps({"nuclei": found, "remark": "its own weights"}) + "\n")


if __name__ == "__main__":
    run(Path(sys.argv[2]), [Path(path) for path in sys.argv[4:]])
