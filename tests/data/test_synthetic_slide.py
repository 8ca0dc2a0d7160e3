"""A slide made piece by piece is one slide, with as much tissue as was asked for."""

from pathlib import Path

import numpy as np
import pytest

from nucleipel.core.geometry import Box
from nucleipel.data.synthetic_slide import GLASS_RGB, tissue_on_glass
from nucleipel.io.slides.slide import open_slide
from nucleipel.io.slides.write_slide import TILE_PX, write_pyramid
from nucleipel.io.tissue_mask import find_tissue

SHAPE = (1500, 2301)


def test_pixels_depend_on_their_place_only(tmp_path: Path) -> None:
    read = tissue_on_glass(SHAPE, tissue=0.3)
    whole = read(Box.of_shape(SHAPE))
    for box in (Box(0, 0, 40, 50), Box(700, 1000, 901, 1300), Box(1490, 2290, 1500, 2301)):
        assert np.array_equal(read(box), whole[box.slices])
    assert np.array_equal(tissue_on_glass(SHAPE, tissue=0.3)(Box.of_shape(SHAPE)), whole)
    glass = (whole >= GLASS_RGB).all(axis=-1) & (whole <= np.add(GLASS_RGB, 2)).all(axis=-1)
    assert 1 - glass.mean() == pytest.approx(0.3, abs=0.02)
    assert tissue_on_glass(SHAPE, tissue=1)(Box(0, 0, 300, 300)).mean() < 230

    asked = []

    def watched(box: Box) -> np.ndarray:
        asked.append(box)
        return read(box)

    write_pyramid(tmp_path / "slide.ome.tif", SHAPE, watched, mpp=0.5)
    assert max(box.y1 - box.y0 for box in asked) == TILE_PX
    with open_slide(tmp_path / "slide.ome.tif") as slide:
        assert [level.shape for level in slide.image.levels] == [SHAPE, (375, 575)]
        assert (slide.mpp, slide.image.channels) == (0.5, ("red", "green", "blue"))
        assert "JPEG" in slide.image.container
        found = slide.read(Box.of_shape(SHAPE)).astype(int)
        assert np.abs(found - whole).mean() < 5, "what JPEG leaves of grain"
        means = whole[:, :2300].reshape(375, 4, 575, 4, 3).mean(axis=(1, 3))
        coarse = slide.image.read(1, Box(0, 0, 375, 575))
        assert np.abs(coarse - means).mean() < 5
        assert find_tissue(slide, step_px=16).share == pytest.approx(0.3, abs=0.03)
