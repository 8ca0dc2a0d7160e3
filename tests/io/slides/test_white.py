"""Stains are judged against the white of their image, however many bits its values have."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from nucleipel.core.geometry import Box
from nucleipel.data.synthetic import build_scene
from nucleipel.io.slides.slide import Slide, as_picture, open_slide

SCENE = build_scene((120, 160), seed=3, glass=False).image
Scaling = Callable[[np.ndarray], np.ndarray]


def _open(folder: Path, pixels: np.ndarray) -> Slide:
    tifffile.imwrite(folder / "image.tif", pixels, photometric="rgb")
    return open_slide(folder / "image.tif")


SCALED: dict[str, tuple[Scaling, int]] = {
    "8 bits": (lambda image: image, 255),
    "8 bits in 16": (lambda image: image.astype(np.uint16), 255),
    "10 bits in 16": (lambda image: image.astype(np.uint16) * 4 + 2, 1023),
    "12 bits in 16": (lambda image: image.astype(np.uint16) * 16 + 8, 4095),
    "14 bits in 16": (lambda image: image.astype(np.uint16) * 64 + 32, 16383),
    "16 bits": (lambda image: image.astype(np.uint16) * 257, 65535),
}


@pytest.mark.parametrize("name", SCALED)
def test_depth_does_not_change_what_is_seen(tmp_path: Path, name: str) -> None:
    scaled, white = SCALED[name]
    with _open(tmp_path, scaled(SCENE)) as slide:
        assert slide.is_stained()
        assert slide.white() == white
        picture = as_picture(slide.read(Box.of_shape(slide.shape)), slide.shown_range())
    assert np.abs(picture.astype(int) - SCENE).max() <= 1


@pytest.mark.parametrize("share", [0.3, 0.45, 0.6])
@pytest.mark.parametrize("full", [255, 65535])
def test_a_dim_lamp_is_no_dark_ground(tmp_path: Path, share: float, full: int) -> None:
    dim = SCENE / 255 * share * full
    with _open(tmp_path, np.rint(dim).astype(np.min_scalar_type(full))) as slide:
        assert slide.is_stained()
        picture = as_picture(slide.read(Box.of_shape(slide.shape)), slide.shown_range())
    assert np.median(picture) > 128


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_colors_of_fluorescence_are_no_stains(tmp_path: Path, bits: int) -> None:
    full = 2**bits - 1
    pixels = np.full((200, 200, 3), 0.02 * full)
    for at in range(20, 180, 40):
        pixels[at : at + 16, at : at + 16, 2] = 0.9 * full
    kind = np.uint8 if bits == 8 else np.uint16
    with _open(tmp_path, pixels.astype(kind)) as slide:
        assert not slide.is_stained()
        assert slide.shown_range() == slide.intensity_range()
