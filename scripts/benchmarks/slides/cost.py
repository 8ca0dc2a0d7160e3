"""The cost of a slide's glass: seconds and memory for pieces alone, and for slides."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from nucleipel.data.synthetic import BrightGround, Islands, SyntheticSlide, build_tissue
from nucleipel.io.slides.slide import open_slide
from nucleipel.io.tissue_mask import AUTO, tissue_of
from slides.command import PHASES, Command, Run
from slides.pieces import GENERATED_MPP, generated, write


def piece_rows(command: Command, side: int, share: float) -> Iterator[dict[str, object]]:
    """A piece alone, then in the middle of a slide of `side` px, of which it is `share`.

    `times` is the slide's time, without that of finding its tissue (a low
    level is read), over the piece's.
    """
    piece = generated("h&e", round(side * share**0.5))
    path = write(piece.alone(), command.scratch, "alone", piece.mpp)
    alone = command.segment(path)
    yield row("piece alone", path, alone, command, tissue_px=piece.shape[0] ** 2)
    corner = (side - piece.shape[0]) // 2
    path = write(
        piece.on_slide((side, side), (corner, corner)), command.scratch, "slide", piece.mpp
    )
    mask_seconds = _mask_seconds(path)
    run = command.segment(path)
    times = (_net(run, command) - mask_seconds) / _net(alone, command)
    yield {
        **row("piece in a slide", path, run, command, tissue_px=piece.shape[0] ** 2),
        "mask s": mask_seconds,
        "times": times,
    }
    path.unlink()


def island_row(command: Command, side: int, share: float, *options: str) -> dict[str, object]:
    """A slide of `side` px with islands of tissue, and how long it took to write."""
    started = time.perf_counter()
    tissue, layout = build_tissue("h&e"), Islands(share)
    slide = SyntheticSlide((side, side), BrightGround(), tissue=tissue, layout=layout)
    path = write(slide, command.scratch, f"islands-{side}", GENERATED_MPP)
    wrote = time.perf_counter() - started
    run = command.segment(path, *options)
    mask_seconds = _mask_seconds(path)
    found = row(" ".join(("islands", *options)), path, run, command, tissue_px=share * side**2)
    path.unlink()
    return {**found, "mask s": mask_seconds, "times": None, "written in s": wrote}


def slide_rows(command: Command, slides: Sequence[Path]) -> Iterator[dict[str, object]]:
    """Given slides; their share of tissue is what the mask says."""
    for path in slides:
        run = command.segment(path)
        share = float(run.tissue.get("tissue_percent", 100)) / 100
        height, width = run.certificate["map"]["shape"]
        yield row(path.name, path, run, command, tissue_px=share * height * width)


def row(
    name: str, path: Path, run: Run, command: Command, *, tissue_px: float
) -> dict[str, object]:
    """Seconds without the command's start; areas of tissue, of what was predicted, of the slide."""
    with open_slide(path) as slide:
        height, width = slide.shape
        mm2 = tissue_px * (slide.mpp or 0) ** 2 / 1e6
    slide_mpx = height * width / 1e6
    predicted = slide_mpx * (1 - run.skipped_percent / 100)
    seconds = _net(run, command)
    return {
        "slide": name,
        "px": f"{height} x {width}",
        "tissue %": 100 * tissue_px / (height * width),
        "skipped %": run.skipped_percent,
        "nuclei": run.nuclei,
        "s": seconds,
        "s/mm2 of tissue": seconds / mm2 if mm2 else None,
        "predicted Mpx/s": predicted / seconds,
        "slide Mpx/s": slide_mpx / seconds,
        **{f"{phase} s": run.phases[phase] for phase in PHASES},
        "idle %": run.idle_percent,
        "peak MB": round(run.peak_mb),
        "mask s": None,
        "times": None,
        "written in s": None,
    }


def _net(run: Run, command: Command) -> float:
    return max(run.seconds - command.start_seconds, 1e-3)


def _mask_seconds(path: Path) -> float:
    with open_slide(path) as slide:
        started = time.perf_counter()
        tissue_of(slide, AUTO, image_id="slide")
        return time.perf_counter() - started
