"""Pieces of tissue and the ground they are laid on: parts of real images, or generated ones."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.data.synthetic import (
    BrightGround,
    DarkGround,
    Islands,
    Piece,
    SyntheticSlide,
    build_tissue,
)
from nucleipel.io.slides.slide import open_slide
from nucleipel.io.slides.write_pyramid import write_pyramid

KINDS = ("h&e", "fluorescence", "ihc", "fat")
GENERATED_MPP = 0.5


@dataclass(frozen=True)
class Sample:
    """Pixels (h, w, C) of nothing but tissue, their mpp, and ground that suits them."""

    name: str
    pixels: npt.NDArray[Any]
    mpp: float | None
    ground: BrightGround | DarkGround

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def alone(self) -> SyntheticSlide:
        """A slide that is this piece and nothing else."""
        return self.on_slide(self.shape, (0, 0))

    def on_slide(self, shape: tuple[int, int], corner: tuple[int, int]) -> SyntheticSlide:
        """A slide of (height, width) px of bare ground with this piece on it."""
        return SyntheticSlide(shape, self.ground, pieces=[Piece(self.pixels, *corner)])


def generated(kind: str, side: int) -> Sample:
    """A square piece of generated tissue, `side` px high and wide."""
    ground = DarkGround() if kind == "fluorescence" else BrightGround()
    tissue = build_tissue(kind, channels=ground.channels)
    slide = SyntheticSlide((side, side), ground, tissue=tissue, layout=Islands(1))
    return Sample(kind, slide.read(Box(0, 0, side, side)), GENERATED_MPP, ground)


def real(path: Path, *, mpp: float | None, side: int, white: float) -> Sample:
    """The middle of an image, at most `side` px high and wide.

    Stained tissue is laid on glass of the gray level `white`.

    Gray of 8 bit on dark ground is taken as light and photographed by a 16 bit
    camera, so that the ground around it can have the noise of its own ground.
    """
    with open_slide(path, mpp=mpp) as slide:
        corner = [max(length - side, 0) // 2 for length in slide.shape]
        box = Box(0, 0, side, side).shift(*corner).clip(slide.shape)
        pixels, stained, mpp = slide.read(box), slide.is_stained(), slide.mpp
    if stained:
        return Sample(path.stem, pixels, mpp, BrightGround(white))
    channels = pixels.shape[-1]
    if pixels.dtype == np.uint16 or channels == 3:
        low = float(np.percentile(pixels, 1))
        bits = 8 * pixels.dtype.itemsize
        return Sample(path.stem, pixels, mpp, DarkGround(channels, bits, offset=low))
    if np.median(pixels) > np.iinfo(pixels.dtype).max / 2:
        sys.exit(f"{path}: gray on bright ground; expected stained color, or fluorescence")
    camera = DarkGround()
    low, high = np.percentile(pixels, (1, 99.8))
    light = ((pixels - low) / (high - low)).clip(0, None).astype(np.float32)
    frame = Box.of_shape((pixels.shape[0], pixels.shape[1]))
    return Sample(path.stem, camera.expose(light, frame, frame.shape), mpp, camera)


def write(slide: SyntheticSlide, folder: Path, name: str, mpp: float | None) -> Path:
    """Write a slide as a pyramid."""
    path = folder / f"{name}.ome.tif"
    write_pyramid(path, slide.shape, slide.read, mpp=mpp, repeats=slide.repeats)
    return path
