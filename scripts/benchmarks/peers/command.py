"""What the scripts of all peers share: their command line, the images they read, what they write.

Each script runs in the environment of its peer, which has no nucleipel.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np


def main(
    prepare: Callable[[Path, list[Path]], None],
    run: Callable[[Path, Path, list[Path]], tuple[int, str]],
) -> None:
    """Do what the command line says: `prepare MAPS NUCLEI ...` or `run OUT MAPS IMAGE ...`.

    A run returns the number of nuclei and a remark, which are printed as JSON.
    """
    command, *folders = sys.argv[1:]
    first, *paths = map(Path, folders)
    if command == "prepare":
        prepare(first, paths)
    else:
        nuclei, remark = run(first, paths[0], paths[1:])
        sys.stdout.write(json.dumps({"nuclei": nuclei, "remark": remark}) + "\n")


def read_rgb(path: Path) -> np.ndarray:
    """The (h, w, 3) pixels of an image in gray or in color."""
    from skimage.io import imread

    pixels = imread(path)
    return np.stack([pixels] * 3, axis=-1) if pixels.ndim == 2 else pixels[..., :3]


def write_labels(out: Path, image: Path, labels: np.ndarray) -> None:
    """Write the label map of an image as a compressed TIFF."""
    from tifffile import imwrite

    imwrite(out / f"{image.stem}.tif", labels.astype(np.uint32), compression="zlib")
