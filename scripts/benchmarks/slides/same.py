"""Check that a piece of tissue has the same nuclei alone and within a slide of glass.

A piece is segmented as an image of its own, then on slides of which it is a
given share, at several places: two at multiples of the TIFF's tiles, so that JPEG
changes its pixels alike, and one that is not. A network with strides gives
other maps for moved pixels, so the piece alone is also segmented without its
first few rows and columns: glass is not to blame for what that row lacks. The
figures compare the two instance maps of the piece; `inside` leaves out nuclei
near the piece's edge, which see glass in place of the mirrored piece.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.io.slides.slide import open_annotation
from nucleipel.io.slides.write_slide import TILE_PX
from nucleipel.metrics.scores import ImageScore
from slides.command import Command, Run
from slides.pieces import Sample, write

PLACES = {"upper left": (0.1, 0.15), "middle": (0.5, 0.5), "off the grid": (0.83, 0.77)}
MOVED_PX = (5, 9)
RIM_PX = 128
"""Distance to which a piece's edge changes the network's input, and a nucleus longer."""


def rows(
    command: Command, samples: Sequence[Sample], shares: Sequence[float], places: Sequence[str]
) -> Iterator[dict[str, object]]:
    """One row for each piece, share (0 to 1) and place."""
    for sample in samples:
        path = write(sample.alone(), command.scratch, "alone", sample.mpp)
        run = command.segment(path)
        own = _nuclei(run, Box.of_shape(sample.shape))
        yield _row(sample, 1.0, "alone", Box.of_shape(sample.shape), sample.shape, own, run)
        yield _moved_row(command, sample, own)
        for share in sorted(set(shares) - {1.0}, reverse=True):
            shape = tuple(round(length / share**0.5) for length in sample.shape)
            for place in places:
                corner = _corner(sample.shape, (shape[0], shape[1]), place)
                slide = sample.on_slide((shape[0], shape[1]), corner)
                path = write(slide, command.scratch, "slide", sample.mpp)
                run = command.segment(path)
                path.unlink()
                box = Box.of_shape(sample.shape).shift(*corner)
                yield _row(sample, share, place, box, slide.shape, own, run)


def _moved_row(command: Command, sample: Sample, own: npt.NDArray[np.integer]) -> dict[str, object]:
    """The piece alone, its first rows and columns cut off: what the grid alone changes."""
    dy, dx = MOVED_PX
    moved = replace(sample, pixels=sample.pixels[dy:, dx:])
    run = command.segment(write(moved.alone(), command.scratch, "moved", sample.mpp))
    box = Box.of_shape(moved.shape)
    return _row(moved, 1.0, "alone, off the grid", box, moved.shape, own[dy:, dx:], run)


def _corner(piece: tuple[int, int], shape: tuple[int, int], place: str) -> tuple[int, int]:
    """Place of a piece's first pixel."""
    y, x = (
        round(part * (length - side))
        for part, length, side in zip(PLACES[place], shape, piece, strict=True)
    )
    if place == "off the grid":
        return y, x
    return y // TILE_PX * TILE_PX, x // TILE_PX * TILE_PX


def _nuclei(run: Run, box: Box) -> npt.NDArray[np.integer]:
    with open_annotation(run.folder / "instances.ome.tif") as instances:
        return instances.read(box)


def _row(
    sample: Sample,
    share: float,
    place: str,
    box: Box,
    shape: tuple[int, int],
    own: npt.NDArray[np.integer],
    run: Run,
) -> dict[str, object]:
    found = _nuclei(run, box)
    alone, here = (len(np.unique(ids[ids > 0])) for ids in (own, found))
    y, x = run.centers().T
    outside = int(((y < box.y0) | (y >= box.y1) | (x < box.x0) | (x >= box.x1)).sum())
    glass_px = shape[0] * shape[1] - box.shape[0] * box.shape[1]
    mm2 = glass_px * (sample.mpp or 0.5) ** 2 / 1e6
    return {
        "piece": sample.name,
        "tissue %": 100 * share,
        "place": place,
        "slide px": f"{shape[0]} x {shape[1]}",
        "nuclei alone": alone,
        "in the slide": here,
        "change %": 100 * (here - alone) / max(alone, 1),
        "PQ": _pq(own, found),
        "PQ inside": _pq(_inside(own), _inside(found)),
        "outside": outside,
        "per 50 mm2": outside / mm2 * 50 if mm2 else None,
        "skipped %": run.skipped_percent,
        "s": run.seconds,
        "peak MB": round(run.peak_mb),
    }


def _pq(one: npt.NDArray[np.integer], other: npt.NDArray[np.integer]) -> float:
    return ImageScore.of(one, other).to_scores()["pq"]


def _inside(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """The map without the nuclei whose center lies within `RIM_PX` of its edge."""
    flat = ids.ravel()
    areas = np.maximum(np.bincount(flat), 1)
    keep = np.ones(len(areas), bool)
    for places, length in zip(np.indices(ids.shape), ids.shape, strict=True):
        middle = np.bincount(flat, places.ravel()) / areas
        keep &= (middle >= RIM_PX) & (middle < length - RIM_PX)
    return np.where(keep[ids], ids, 0)


def summary(rows: Sequence[dict[str, object]]) -> Iterator[dict[str, object]]:
    """One row for each piece and share: the worst of all places."""
    keys = dict.fromkeys((row["piece"], row["tissue %"]) for row in rows if row["place"] in PLACES)
    for piece, share in keys:
        own = [
            row
            for row in rows
            if (row["piece"], row["tissue %"]) == (piece, share) and row["place"] in PLACES
        ]
        yield {
            "piece": piece,
            "tissue %": share,
            "places": len(own),
            "lowest PQ": min(float(str(row["PQ"])) for row in own),
            "lowest PQ inside": min(float(str(row["PQ inside"])) for row in own),
            "largest change %": max(abs(float(str(row["change %"]))) for row in own),
            "most outside per 50 mm2": max(float(str(row["per 50 mm2"])) for row in own),
            "least skipped %": min(float(str(row["skipped %"])) for row in own),
        }
