"""The pictures of the pages in docs/, but those of glass and of speed.

    python scripts/reproduce/docs_pictures.py CMU-1-Small-Region.svs docs/pictures

The slide is H&E of OpenSlide's test data (CC0, see data_manifests/README.md).
The packaged weights show its nuclear dye.

`pipeline.jpg`: slide, window, probability map, nuclei. `core_and_halo.jpg`: a window,
and the nuclei of four tiles that are segmented alone, beside those of the
whole. `map_to_nuclei.jpg`: channels of a map, and the nuclei made from them.
`report.jpg`: the top of the report of the part, as Chromium shows it.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from skimage.segmentation import find_boundaries, relabel_sequential

import nucleipel as npl
from nucleipel.core.geometry import Box
from nucleipel.io.slides.slide import open_slide

Picture = npt.NDArray[np.uint8]
CORNER, SIDE_PX = (1750, 980), 512
CUT = {"core_px": 512, "halo_px": 112}
SEEN: dict[str, Any] = {"mpp": 0.5, "stained_as": "dye"}
BLUE, ORANGE = "#0072b2", "#d55e00"


def main(path: Path, folder: Path) -> None:
    """Read the slide, segment a part of it, draw and write the pictures."""
    with open_slide(path) as slide:
        height, width = slide.shape
        whole = slide.read(Box(0, 0, height, width))
    y, x = CORNER
    part = np.ascontiguousarray(whole[y : y + SIDE_PX, x : x + SIDE_PX])
    model = npl.load("default")
    intensity = model.segment(part, **SEEN).certificate["intensity"]
    seen = {**SEEN, "intensity_range": list(zip(intensity["low"], intensity["high"], strict=True))}
    maps = np.asarray(model.predict(part, **seen))
    labels = np.asarray(model.instances(maps))
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in {
        "pipeline": _pipeline(whole, part, maps, labels),
        "core_and_halo": _core_and_halo(whole, part, labels, _alone(model, part, seen)),
        "map_to_nuclei": _map_to_nuclei(part, maps, labels),
    }.items():
        figure.savefig(folder / f"{name}.jpg", dpi=100, pil_kwargs={"quality": 82})
    _report(part).save(folder / "report.jpg", quality=78)


def _alone(model: npl.Model, part: Picture, seen: dict[str, Any]) -> npt.NDArray[np.uint32]:
    """Nuclei of the four quarters, each an image of its own, in one range of intensities."""
    half = SIDE_PX // 2
    pasted = np.zeros(part.shape[:2], np.uint32)
    for y in (0, half):
        for x in (0, half):
            quarter = np.ascontiguousarray(part[y : y + half, x : x + half])
            labels = np.asarray(model(quarter, **seen))
            labels[labels > 0] += pasted.max()
            pasted[y : y + half, x : x + half] = labels
    return pasted


def _pipeline(whole: Picture, part: Picture, maps: Picture, labels: Any) -> Figure:
    figure, axes = _panels(4, height=3.2)
    titles = ("1. slide", "2. window", "3. probability map", "4. nuclei")
    small = whole[::4, ::4]
    pictures = (small, part, _colored_map(maps), _colored(labels))
    for axis, picture, title in zip(axes, pictures, titles, strict=True):
        axis.imshow(picture)
        axis.set_title(title, fontsize=10)
    y, x = CORNER
    axes[0].add_patch(_box(y / 4, x / 4, SIDE_PX / 4, SIDE_PX / 4, ORANGE))
    return figure


def _core_and_halo(whole: Picture, part: Picture, labels: Any, alone: Any) -> Figure:
    figure, axes = _panels(3, height=3.9)
    core, halo = CUT["core_px"], CUT["halo_px"]
    y, x = CORNER
    axes[0].imshow(whole[y - halo : y + core + halo, x - halo : x + core + halo])
    axes[0].add_patch(_box(halo, halo, core, core, BLUE))
    axes[0].text(halo + 10, halo + 40, "core: kept", color=BLUE, backgroundcolor="#ffffffc0")
    axes[0].text(10, 45, "halo: read, thrown away", color=ORANGE, backgroundcolor="#ffffffc0")
    axes[0].add_patch(_box(2, 2, core + 2 * halo - 5, core + 2 * halo - 5, ORANGE))
    axes[0].set_title("a window of the network", fontsize=10)
    quarter = slice(SIDE_PX // 4, 3 * SIDE_PX // 4)
    for axis, ids, title in (
        (axes[1], alone, "four tiles, each alone: a seam"),
        (axes[2], labels, "core and halo: none"),
    ):
        axis.imshow(_outlined(part, ids)[quarter, quarter])
        axis.set_title(title, fontsize=10)
    axes[1].axhline(SIDE_PX // 4 - 0.5, color=ORANGE, linewidth=0.8, linestyle="--")
    axes[1].axvline(SIDE_PX // 4 - 0.5, color=ORANGE, linewidth=0.8, linestyle="--")
    return figure


def _map_to_nuclei(part: Picture, maps: Picture, labels: Any) -> Figure:
    figure, axes = _panels(5, height=2.7)
    near = (slice(120, 280), slice(120, 280))
    names = ("image", "interior", "boundary", "distance", "nuclei")
    pictures = (part, maps[1], maps[2], maps[3], _outlined(part, labels))
    for axis, picture, name in zip(axes, pictures, names, strict=True):
        axis.imshow(picture[near], cmap="gray", vmin=0, vmax=255)
        axis.set_title(name, fontsize=10)
    return figure


def _report(part: Picture) -> Image.Image:
    with tempfile.TemporaryDirectory() as scratch:
        image, out, shot = (Path(scratch) / name for name in ("skin.png", "out", "shot.png"))
        Image.fromarray(part).save(image)
        npl.segment_slide(image, out=out, **SEEN)
        page = out / "skin" / "report.html"
        options = ["--headless", "--no-sandbox", "--window-size=1000,820", "--hide-scrollbars"]
        subprocess.run(["chromium", *options, f"--screenshot={shot}", page.as_uri()], check=True)  # noqa: S603, S607
        return Image.open(shot).convert("RGB")


def _panels(number: int, *, height: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(11, height), layout="constrained")
    axes = list(figure.subplots(1, number))
    for axis in axes:
        axis.set_axis_off()
    return figure, axes


def _box(y: float, x: float, height: float, width: float, color: str) -> Rectangle:
    return Rectangle((x, y), width, height, fill=False, edgecolor=color, linewidth=1.8)


def _colored_map(maps: Picture) -> Picture:
    """Interior in green, boundary in red, background in black."""
    return np.dstack([maps[2], maps[1], np.zeros_like(maps[0])])


def _colored(labels: Any) -> Picture:
    """Each nucleus in a color of its own, on white."""
    ids, _, _ = relabel_sequential(labels.astype(np.int64))
    colors = np.random.default_rng(0).integers(40, 220, (ids.max() + 1, 3), dtype=np.uint8)
    colors[0] = 255
    return colors[ids]


def _outlined(picture: Picture, labels: Any) -> Picture:
    drawn = picture.copy()
    drawn[find_boundaries(labels, mode="inner")] = (0, 200, 0)
    return drawn


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
