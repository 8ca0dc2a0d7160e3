"""The first picture of the README: parts of three test images of DSB2018, with their nuclei.

    python scripts/reproduce/segmented_picture.py DATA_ROOT docs/pictures

DATA_ROOT holds dsb2018/images and dsb2018/labels (see data_manifests/README.md; CC0).
All test images are segmented with the packaged weights. Each part is of the image
with the median PQ of its kind, among images with 20 nuclei or more.
"""

import csv
import sys
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

import nucleipel as npl

MANIFEST = Path(__file__).parents[2] / "data_manifests" / "dsb2018.csv"
KINDS = ("fluorescence", "histology", "brightfield")
LEAST_NUCLEI = 20
SIDE_PX, ENLARGED, GAP_PX = 200, 2, 8
COLOR = {"fluorescence": (255, 200, 0), "histology": (0, 255, 0), "brightfield": (230, 60, 0)}


class Segmented(NamedTuple):
    """A test image, what was made of it, and its score."""

    pq: float
    picture: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint32]


def main(data_root: Path, folder: Path) -> None:
    """Segment, choose one image a kind, draw and write the picture."""
    model = npl.load("default")
    found: dict[str, list[Segmented]] = {kind: [] for kind in KINDS}
    for row in csv.DictReader(MANIFEST.read_text(encoding="utf-8").splitlines()):
        kind = row["modality"].partition("_")[0]
        annotation = tifffile.imread(data_root / row["label"])
        if row["split"] == "test" and len(np.unique(annotation)) > LEAST_NUCLEI:
            picture = np.array(Image.open(data_root / row["image"]))
            labels = model(picture)
            scores: dict[str, Any] = npl.evaluate(annotation, labels)
            found[kind].append(Segmented(scores["pq"], picture, labels))
    parts = [_draw(_median(found[kind]), COLOR[kind]) for kind in KINDS]
    gap = np.full((parts[0].shape[0], GAP_PX, 3), 255, np.uint8)
    row_of_parts = np.hstack([parts[0], gap, parts[1], gap, parts[2]])
    Image.fromarray(row_of_parts).save(folder / "segmented.jpg", quality=82)


def _median(images: list[Segmented]) -> Segmented:
    ordered = sorted(images, key=lambda image: image.pq)
    return ordered[(len(ordered) - 1) // 2]  # of two the one with the lower score


def _draw(image: Segmented, color: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """The square with the most nuclei, enlarged, with their contours."""
    y, x = _fullest(image.labels)
    square = (slice(y, y + SIDE_PX), slice(x, x + SIDE_PX))
    labels, picture = image.labels[square], image.picture[square]
    if picture.ndim == 2:
        picture = np.dstack([picture] * 3)
    side = ENLARGED * SIDE_PX
    drawn = cv2.resize(_brightened(picture), (side, side), interpolation=cv2.INTER_CUBIC)
    for i in np.unique(labels[labels > 0]):
        mask = cv2.resize((labels == i).astype(np.float32), (side, side)) > 0.5
        outlines, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(drawn, outlines, -1, color, 2, cv2.LINE_AA)
    return drawn


def _fullest(labels: npt.NDArray[np.uint32]) -> tuple[int, int]:
    step = SIDE_PX // 4
    height, width = labels.shape
    places = [
        (y, x)
        for y in range(0, max(height - SIDE_PX, 0) + 1, step)
        for x in range(0, max(width - SIDE_PX, 0) + 1, step)
    ]
    return max(places, key=lambda at: len(np.unique(labels[at[0] :, at[1] :][:SIDE_PX, :SIDE_PX])))


def _brightened(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    low, high = np.percentile(picture, (0.5, 99.8))
    scaled = (picture.astype(np.float32) - low) / max(high - low, 1) * 255
    return np.clip(scaled, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
