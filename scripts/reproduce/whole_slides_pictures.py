"""The pictures of docs/whole_slides.md, from a generated slide.

    python scripts/reproduce/whole_slides_pictures.py docs/pictures

`tissue_mask.jpg`: a slide with artifacts, the tissue that is found, and the cores
that are skipped. `tissue_range.png`: how often its values occur, in all of
it and where tissue is, with the values that become 0 and 1.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from nucleipel.core.geometry import Box
from nucleipel.core.glass_cores import glass_cores
from nucleipel.data.synthetic import (
    BrightGround,
    CoverslipEdge,
    Dust,
    Hair,
    Islands,
    Pen,
    SyntheticSlide,
    build_tissue,
)
from nucleipel.io.slides.slide import Slide, open_slide
from nucleipel.io.slides.write_pyramid import write_pyramid

SIDE_PX, MPP = 6144, 0.5
CUT = {"core_px": 512, "halo_px": 112}
SHOWN_PX = 900
GREEN, GRAY = "#008a3c", "#505050"


def main(folder: Path) -> None:
    """Generate the slide, draw, write both pictures."""
    slide = SyntheticSlide(
        (SIDE_PX, SIDE_PX),
        BrightGround(vignetting=0.03),
        tissue=build_tissue("h&e", channels=3),
        layout=Islands(0.1),
        artifacts=[Pen("green", 1, 300), Pen("black", 1, 250), Dust(60), Hair(2), CoverslipEdge()],
        seed=4,
    )
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "slide.ome.tif"
        write_pyramid(path, slide.shape, slide.read, mpp=MPP, repeats=slide.repeats)
        with open_slide(path) as opened:
            mask = _mask_figure(opened)
            values = _range_figure(opened)
    mask.savefig(folder / "tissue_mask.jpg", dpi=100, pil_kwargs={"quality": 80})
    values.savefig(folder / "tissue_range.png", dpi=100)


def _mask_figure(slide: Slide) -> Figure:
    found = slide.tissue()
    figure = Figure(figsize=(8, 8.4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(slide.thumbnail(SHOWN_PX), extent=(0, SIDE_PX, SIDE_PX, 0))
    for core in glass_cores(found.tissue, slide.shape, **CUT):
        height, width = core.shape
        axes.add_patch(
            Rectangle((core.x0, core.y0), width, height, fc="#b0c4de", alpha=0.35, ec=GRAY, lw=0.4)
        )
    axes.contour(
        cv2.copyMakeBorder(found.tissue.mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT),
        levels=[0.5],
        colors=GREEN,
        linewidths=1.2,
        extent=(-16, SIDE_PX + 16, -16, SIDE_PX + 16),
        origin=None,
    )
    axes.set(xlim=(0, SIDE_PX), ylim=(SIDE_PX, 0), xticks=[], yticks=[])
    axes.legend(
        handles=[
            Patch(fc="none", ec=GREEN, label="tissue"),
            Patch(fc="#b0c4de", alpha=0.6, ec=GRAY, label="cores of 512 px that are skipped"),
        ],
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        ncols=2,
        frameon=False,
    )
    return figure


def _range_figure(slide: Slide) -> Figure:
    """Green, in which both stains absorb most."""
    found, shown = slide.tissue(), slide.intensity_range()
    every, tissue = _counts(slide, found.tissue.mask, found.tissue.step_px)
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    for counts, color, name in ((every, GRAY, "all pixels"), (tissue, GREEN, "pixels of tissue")):
        axes.plot(100 * counts / counts.sum(), color=color, label=name)
    low, high = shown.low[1], shown.high[1]
    axes.axvspan(low, high, color=GREEN, alpha=0.08, label=f"range: {low:.0f} to {high:.0f}")
    values = [np.searchsorted(np.cumsum(every) / every.sum(), part) for part in (0.01, 0.998)]
    for value, name in zip(values, ("percentiles 1 and 99.8 of all pixels", None), strict=True):
        axes.axvline(int(value), color=GRAY, linestyle=":", label=name)
    axes.set(yscale="log", ylim=(1e-3, 300), xlim=(0, 256))
    axes.set(xlabel="stored value, green", ylabel="% of pixels")
    axes.legend(frameon=False, loc="upper center", ncols=2)
    return figure


def _counts(
    slide: Slide, mask: npt.NDArray[np.bool_], step_px: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """How often each value of green occurs in the slide, and in its tissue; (256,) each."""
    green = slide.read(Box.of_shape(slide.shape))[..., 1]
    cells = np.kron(mask, np.ones((step_px, step_px), bool))[: green.shape[0], : green.shape[1]]
    return np.bincount(green.ravel(), minlength=256), np.bincount(green[cells], minlength=256)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
