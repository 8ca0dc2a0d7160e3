"""Tissue masks on ground with artifacts: bare cores skipped, nuclei lost.

Cores are those of the checkpoint's window grid. A core is bare if neither tissue
nor an artifact reaches into it or the ring around it: such cores should be
skipped. Nuclei whose center lies in a skipped core are lost: there should be none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.geometry import Box, core_tiles
from nucleipel.core.glass_cores import glass_cores, ring_px
from nucleipel.data.synthetic import (
    BrightGround,
    Cores,
    CoverslipEdge,
    DarkGround,
    Dust,
    Hair,
    Islands,
    Pen,
    Sections,
    SingleNuclei,
    SyntheticSlide,
    Void,
    build_tissue,
)
from nucleipel.io.slides.slide import open_slide
from nucleipel.io.tissue_mask import AUTO, tissue_of
from nucleipel.model.checkpoint import read_checkpoint
from slides.command import Command
from slides.pieces import GENERATED_MPP, write


@dataclass(frozen=True)
class Case:
    """A slide to try: what differs from clean ground with islands."""

    name: str
    ground: Any = None
    artifacts: tuple[Any, ...] = ()
    void: Void | None = None
    layout: Any = None


PENS = (Pen("blue"), Pen("green"), Pen("black"))
DIRT = (Dust(40), Hair(2), CoverslipEdge())
UNEVEN = BrightGround(vignetting=0.05, frame_steps=0.8, gradient=0.04)
BRIGHT = (
    Case("clean"),
    Case("tinted", BrightGround(232, (6, 0, -8))),
    Case("noise 3", BrightGround(noise=3)),
    Case("vignetting", BrightGround(vignetting=0.06)),
    Case("steps between frames", BrightGround(frame_steps=1.5)),
    Case("light falls over the slide", BrightGround(gradient=0.06)),
    Case("dust", artifacts=(Dust(40),)),
    Case("hairs", artifacts=(Hair(3),)),
    Case("pen", artifacts=PENS),
    Case("coverslip edge", artifacts=(CoverslipEdge(),)),
    Case("black padding", void=Void(0, 0.2)),
    Case("white padding", void=Void(255, 0.2)),
    Case("MIRAX", void=Void(0, 0.15, on_all_sides=True, unscanned=True)),
    Case("sections", layout="sections"),
    Case("tissue microarray", layout="cores"),
    Case("all at once", UNEVEN, (*PENS, *DIRT), Void(255, 0.1)),
)
DARK = (
    Case("clean"),
    Case("8 bit", DarkGround.of_8_bit()),
    Case("haze, uneven", DarkGround(haze=0.05, vignetting=0.2)),
    Case("haze falls over the slide", DarkGround(haze=0.05, gradient=0.5)),
    Case("hot pixels", DarkGround(hot_pixels=2e-5)),
    Case("dust", artifacts=(Dust(40),)),
    Case("hairs", artifacts=(Hair(3),)),
    Case("pen", artifacts=PENS[:1]),
    Case("black padding", void=Void(0, 0.2)),
    Case("20 nuclei", layout="single"),
)


def rows(
    command: Command, kinds: Sequence[str], side: int, share: float, *, cases: int | None
) -> Iterator[dict[str, object]]:
    """One row a kind of tissue and case."""
    grid = read_checkpoint(Path(command.checkpoint)).description.grid
    for kind in kinds:
        dark = kind == "fluorescence"
        tissue = build_tissue(kind, channels=1 if dark else 3)
        for case in (DARK if dark else BRIGHT)[:cases]:
            layouts = {
                "sections": Sections(share),
                "cores": Cores(share, across=4),
                "single": SingleNuclei(20),
                None: Islands(share),
            }
            slide = SyntheticSlide(
                (side, side),
                case.ground or (DarkGround() if dark else BrightGround()),
                tissue=tissue,
                layout=layouts[case.layout],
                artifacts=case.artifacts,
                void=case.void,
            )
            path = write(slide, command.scratch, "mask", GENERATED_MPP)
            yield {"kind": kind, "case": case.name, **_judged(slide, path, grid)}
            path.unlink()


def _judged(slide: SyntheticSlide, path: Path, grid: Any) -> dict[str, object]:
    cut = {"core_px": grid.core_px, "halo_px": grid.halo_px}
    with open_slide(path) as opened:
        tissue = tissue_of(opened, AUTO, image_id="slide")
        skipped = glass_cores(tissue, slide.shape, **cut)
    ring = ring_px(grid.halo_px)
    cores = {
        tile.core: tile.core.grow(ring).clip(slide.shape) for tile in core_tiles(slide.shape, **cut)
    }
    empty = [core for core, around in cores.items() if not slide.holds_tissue(around)]
    bare = [core for core in empty if slide.is_bare(cores[core])]
    dirty = [core for core in empty if core not in set(bare)]
    centers = slide.centers()
    return {
        "tissue %": None if tissue is None else 100 * tissue.share,
        "bare cores": len(bare),
        "skipped %": _percent(bare, skipped),
        "other cores without tissue": len(dirty),
        "of them skipped %": _percent(dirty, skipped),
        "nuclei": len(centers),
        "lost": sum(int(_in_box(centers, core).sum()) for core in skipped),
    }


def _percent(cores: Sequence[Box], skipped: frozenset[Box]) -> float | None:
    return 100 * sum(core in skipped for core in cores) / len(cores) if cores else None


def _in_box(centers: Any, box: Box) -> Any:
    y, x = centers.T
    return np.asarray((y >= box.y0) & (y < box.y1) & (x >= box.x0) & (x < box.x1))
