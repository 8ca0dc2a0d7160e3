"""Label the nuclei of a stained slide with a network that learned them from fluorescence.

    python scripts/reproduce/label_stained.py SLIDE --checkpoint RUN --out DIR [--mpp UM] [--color]

The nuclear dye, separated from the other one by its color (Ruifrok and Johnston
2001), looks like fluorescence: bright nuclei on a dark background. Dense tissue
takes up some of it too, so the network gets four views of the dye: as it is, and
relative to the mean of its surroundings in three ways. With --color it also gets
the slide in color, for a network that was trained on stained slides. Of nuclei
that overlap, the most probable one stays. Nuclei that hardly absorb more than
the ring around them, or have a ragged outline, are dropped.

Writes DIR/image.png, label.tif and manifest.csv, for `nucleipel train --manifest`.
The labels are guesses: docs/choices.md compares them with annotations of 13 H&E
tiles. The whole slide is held in memory.
"""

import argparse
import csv
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import tifffile
from PIL import Image
from skimage.color import rgb2hed

from nucleipel.core.geometry import Box
from nucleipel.errors import NucleipelError
from nucleipel.io.nuclei.image_output import read_instance_map
from nucleipel.io.slides.slide import open_slide

SETTINGS = {
    "foreground_percent": 60,
    "min_probability_percent": 60,
    "smooth_px": 2.0,
    "min_area_px": 30,
}
SOLID = 0.8
COVERED = 0.15
RING_PX = 4
DARKER = 0.15
"""Mean absorbance (natural logarithm) of a nucleus above that of its ring."""
DARK = 0.35
"""Least mean absorbance of the nucleus itself."""


def views(rgb: np.ndarray) -> dict[str, np.ndarray]:
    """Gray pictures (H, W) uint8 of the nuclear dye in an (H, W, 3) uint8 image."""
    dye = _blurred(rgb2hed(rgb)[..., 0].astype(np.float32), 1)
    near, wide, mean = (_blurred(dye, sigma_px) for sigma_px in (12, 30, 60))
    spread = np.sqrt(_blurred((dye - mean) ** 2, 60))
    return {
        "dye": _brightest_white(dye, 99.8),
        "near": _brightest_white(np.maximum(dye - 0.8 * near, 0), 98.5),
        "wide": _brightest_white(np.maximum(dye - 0.6 * wide, 0), 98.5),
        "contrast": _gray(np.maximum(dye - mean, 0) / (0.03 + spread), 3.0),
    }


def _blurred(plane: np.ndarray, sigma_px: float) -> np.ndarray:
    return cv2.GaussianBlur(plane, (0, 0), sigma_px)


def _brightest_white(plane: np.ndarray, percentile: float) -> np.ndarray:
    return _gray(plane, float(np.percentile(plane, percentile)))


def _gray(plane: np.ndarray, white: float) -> np.ndarray:
    return (255 * np.clip(plane / max(white, 1e-6), 0, 1)).astype(np.uint8)


def merge_views(rgb: np.ndarray, folders: list[Path]) -> np.ndarray:
    """Ids (H, W) of the nuclei of all views; where they overlap, the most probable one stays."""
    absorbance = -np.log((rgb.astype(np.float32) + 1) / 256).mean(axis=-1)
    maps = [read_instance_map(folder.parent, folder.name) for folder in folders]
    found = []
    for view, folder in enumerate(folders):
        table = pq.read_table(folder / "nuclei.parquet").to_pydict()
        corners = zip(*(table[f"{k}_px"] for k in ("y0", "x0", "y1", "x1")), strict=True)
        rows = zip(table["mean_probability"], table["id"], table["solidity"], corners, strict=True)
        found += [(p, view, i, box) for p, i, solid, box in rows if solid >= SOLID]
    ids, count = np.zeros(rgb.shape[:2], np.int32), 0
    ring_of = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * RING_PX + 1,) * 2)
    for _, view, i, (y0, x0, y1, x1) in sorted(found, reverse=True):
        here = np.s_[max(y0 - RING_PX, 0) : y1 + RING_PX, max(x0 - RING_PX, 0) : x1 + RING_PX]
        nucleus = maps[view][here] == i
        if (ids[here][nucleus] > 0).mean() > COVERED:
            continue
        ring = (cv2.dilate(nucleus.astype(np.uint8), ring_of) > 0) & (maps[view][here] == 0)
        dark = absorbance[here][nucleus].mean()
        if not ring.any() or dark < DARK or dark - absorbance[here][ring].mean() < DARKER:
            continue
        count += 1
        ids[here][nucleus & (ids[here] == 0)] = count
    return ids


def label(rgb: np.ndarray, *, checkpoint: str, out: Path, color: bool) -> np.ndarray:
    """Ids (H, W) of an (H, W, 3) uint8 image; `out` keeps the views and their nuclei."""
    out.mkdir(parents=True, exist_ok=True)
    shown = views(rgb) | ({"color": rgb} if color else {})
    for name, gray in shown.items():
        Image.fromarray(gray).save(out / f"{name}.png")
    images = [str(out / f"{name}.png") for name in shown]
    settings = [f"--set=instances.{key}={value}" for key, value in SETTINGS.items()]
    arguments = ["--checkpoint", checkpoint, "--out", str(out / "nuclei"), "--overwrite"]
    arguments += ["--geojson=none"]
    command = [sys.executable, "-m", "nucleipel", "segment", *images, *arguments, *settings]
    subprocess.run(command, check=True)  # noqa: S603
    return merge_views(rgb, [out / "nuclei" / name for name in shown])


def main() -> None:
    """Write image.png, label.tif and manifest.csv."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mpp", type=float, help="work at this um per pixel (default: level 0)")
    parser.add_argument(
        "--color", action="store_true", help="show the network the slide in color too"
    )
    options = parser.parse_args()
    try:
        with open_slide(options.slide, at_mpp=options.mpp) as slide:
            rgb = slide.read(Box.of_shape(slide.shape))
    except NucleipelError as error:
        sys.exit(f"error: {error}")
    if rgb.dtype != np.uint8 or rgb.shape[-1] != 3:
        found = f"{rgb.shape[-1]} channel(s) of {rgb.dtype}"
        sys.exit(f"error: {options.slide}: {found}; expected a stained slide, RGB of 8 bit")
    ids = label(rgb, checkpoint=options.checkpoint, out=options.out / "views", color=options.color)
    Image.fromarray(rgb).save(options.out / "image.png")
    tifffile.imwrite(options.out / "label.tif", ids.astype(np.uint16), compression="zlib")
    with (options.out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "label", "split", "source_id", "modality"])
        rows.writerow(["image.png", "label.tif", "train", options.slide.stem, "histology_he"])
    sys.stdout.write(f"{options.out}: {ids.max()} nuclei\n")


if __name__ == "__main__":
    main()
