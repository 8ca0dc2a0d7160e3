"""Tissue masks on ground with artifacts: bare cores skipped, nuclei lost.

Cores are those of the checkpoint's window grid. A core is bare if neither tissue
nor an artifact reaches into it or the ring around it: such cores should be
skipped. Nuclei whose center lies in a skipped core are lost: there should be none.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.geometry import Box, core_tiles
from nucleipel.core.glass_cores import Tissue, glass_cores, ring_px
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
from nucleipel.model.checkpoint import read_checkpoint
from slides.command import Command
from slides.other_masks import others
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
    command: Command,
    kinds: Sequence[str],
    side: int,
    share: float,
    *,
    cases: int | None,
    with_others: bool,
) -> Iterator[dict[str, object]]:
    """One row a kind of tissue, case and mask: ours, then those of other programs."""
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
            for row in _judged(slide, path, grid, with_others=with_others):
                yield {"kind": kind, "case": case.name, **row}
            path.unlink()


def _judged(
    slide: SyntheticSlide, path: Path, grid: Any, *, with_others: bool
) -> Iterator[dict[str, object]]:
    cut = {"core_px": grid.core_px, "halo_px": grid.halo_px}
    ring = ring_px(grid.halo_px)
    cores = {
        tile.core: tile.core.grow(ring).clip(slide.shape) for tile in core_tiles(slide.shape, **cut)
    }
    empty = [core for core, around in cores.items() if not slide.holds_tissue(around)]
    bare = [core for core in empty if slide.is_bare(cores[core])]
    dirty = [core for core in empty if core not in set(bare)]
    centers = slide.centers()
    for name, tissue, seconds in _masks(path, with_others=with_others):
        skipped = glass_cores(tissue, slide.shape, **cut)
        yield {
            "mask": name,
            "tissue %": 100 * tissue.share,
            "bare cores": len(bare),
            "skipped %": _percent(bare, skipped),
            "other cores without tissue": len(dirty),
            "of them skipped %": _percent(dirty, skipped),
            "nuclei": len(centers),
            "lost": sum(int(_in_box(centers, core).sum()) for core in skipped),
            "s": seconds,
        }


def _masks(path: Path, *, with_others: bool) -> Iterator[tuple[str, Tissue, float]]:
    """Each mask's name, what it finds, and seconds; those of others without the reading."""
    with open_slide(path) as opened:
        started = time.perf_counter()
        found = opened.tissue()
        yield "nucleipel", found.tissue, time.perf_counter() - started
        if not with_others:
            return
        step = found.tissue.step_px
        coarse = opened.coarse(step)
        cells = coarse.read(Box.of_shape(coarse.shape))
    for name, make in others(cells, bright=found.ground.bright).items():
        started = time.perf_counter()
        yield name, Tissue(make(), step, {}), time.perf_counter() - started


def summary(rows: Sequence[dict[str, object]]) -> Iterator[dict[str, object]]:
    """One row for each mask, bright and dark: all slides together."""
    keys = dict.fromkeys((row["kind"] == "fluorescence", row["mask"]) for row in rows)
    for dark, name in keys:
        own = [r for r in rows if (r["kind"] == "fluorescence", r["mask"]) == (dark, name)]
        bare, dirty = (
            ("bare cores", "skipped %"),
            ("other cores without tissue", "of them skipped %"),
        )
        yield {
            "ground": "dark" if dark else "bright",
            "mask": name,
            "slides": len(own),
            "bare cores skipped %": _of_all(own, *bare),
            "other cores skipped %": _of_all(own, *dirty),
            "nuclei": _sum(own, "nuclei"),
            "lost": _sum(own, "lost"),
            "s a slide": round(sum(float(str(r["s"])) for r in own) / len(own), 3),
        }


def _sum(rows: Sequence[dict[str, object]], column: str) -> int:
    return sum(int(str(row[column])) for row in rows)


def _of_all(rows: Sequence[dict[str, object]], count: str, percent: str) -> float | None:
    skipped = sum(int(str(r[count])) * float(str(r[percent] or 0)) for r in rows)
    return skipped / max(_sum(rows, count), 1) if _sum(rows, count) else None


def _percent(cores: Sequence[Box], skipped: frozenset[Box]) -> float | None:
    return 100 * sum(core in skipped for core in cores) / len(cores) if cores else None


def _in_box(centers: Any, box: Box) -> Any:
    y, x = centers.T
    return np.asarray((y >= box.y0) & (y < box.y1) & (x >= box.x0) & (x < box.x1))
