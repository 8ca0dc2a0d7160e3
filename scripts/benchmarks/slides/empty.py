"""Slides on which there is nothing to be found: glass, dark, noise, constant values, artifacts."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.data.synthetic import (
    BrightGround,
    CoverslipEdge,
    DarkGround,
    Dust,
    Hair,
    Pen,
    SyntheticSlide,
    Void,
)
from nucleipel.io.slides.write_pyramid import write_pyramid
from slides.command import Command

Read = Callable[[Box], npt.NDArray[Any]]


def rows(command: Command, side: int) -> Iterator[dict[str, object]]:
    """One row a slide of `side` px; the exit code should be 0, and no nuclei found."""
    for name, read in _slides((side, side)).items():
        path = command.scratch / "empty.ome.tif"
        write_pyramid(path, (side, side), read, mpp=0.5)
        run = command.segment(path, may_fail=True)
        ended = run.exit_code == 0
        yield {
            "slide": name,
            "exit": run.exit_code,
            "nuclei": run.nuclei if ended else None,
            "skipped %": run.skipped_percent if ended else None,
            "s": run.seconds,
            "said": "" if ended else run.log.strip().splitlines()[-1],
        }
        path.unlink()


def _slides(shape: tuple[int, int]) -> dict[str, Read]:
    pens = [Pen("blue", 1), Pen("green", 1), Pen("black", 1)]
    dirt = [Dust(60), Hair(2), CoverslipEdge()]
    dark = DarkGround()
    grounds: dict[str, tuple[Any, list[Any], Void | None]] = {
        "glass": (BrightGround(), [], None),
        "glass, noisy and tinted": (BrightGround(228, (6, 0, -8), noise=3), [], None),
        "glass, uneven": (BrightGround(vignetting=0.06, frame_steps=1, gradient=0.05), [], None),
        "glass with dust, hairs, coverslip edge": (BrightGround(), dirt, None),
        "glass with pen": (BrightGround(), pens, None),
        "glass in black void": (BrightGround(), [], Void(0, 0.25, on_all_sides=True)),
        "glass in white void": (BrightGround(), [], Void(255, 0.25, on_all_sides=True)),
        "dark": (dark, [], None),
        "dark, 8 bit": (DarkGround.of_8_bit(), [], None),
        "dark, 8 bit RGB": (DarkGround.of_8_bit(3), [], None),
        "dark, haze uneven": (DarkGround(haze=0.1, vignetting=0.2, gradient=0.5), [], None),
        "dark with hot pixels": (DarkGround(hot_pixels=2e-5), [], None),
        "dark with dust and hairs": (dark, [Dust(60), Hair(2)], None),
    }
    slides: dict[str, Read] = {
        name: SyntheticSlide(shape, ground, artifacts=artifacts, void=void).read
        for name, (ground, artifacts, void) in grounds.items()
    }
    for value, dtype, channels in ((255, "uint8", 3), (0, "uint8", 3), (128, "uint8", 3)):
        slides[f"all {value}"] = _constant(value, dtype, channels)
    slides["all 0, 16 bit"] = _constant(0, "uint16", 1)
    slides["all 1000, 16 bit"] = _constant(1000, "uint16", 1)
    slides["noise of all values, RGB"] = _noise(3)
    slides["noise of all values, gray"] = _noise(1)
    return slides


def _constant(value: int, dtype: str, channels: int) -> Read:
    return lambda box: np.full((*box.shape, channels), value, dtype)


def _noise(channels: int) -> Read:
    def read(box: Box) -> npt.NDArray[Any]:
        draw = np.random.default_rng((box.y0, box.x0, channels))
        return draw.integers(0, 256, (*box.shape, channels), np.uint8)

    return read
