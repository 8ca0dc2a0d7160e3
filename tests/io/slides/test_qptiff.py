"""Akoya's QPTIFF: dyes by their biomarkers, levels, and pictures that are no image."""

from pathlib import Path

import numpy as np
import pytest
from support.foreign_files import write_qptiff

from nucleipel.core.geometry import Box
from nucleipel.io.slides.formats import open_image
from nucleipel.io.slides.slide import open_slide


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_dyes_and_levels(tmp_path: Path, dtype: type) -> None:
    planes = np.random.default_rng(0).integers(0, 250, (3, 301, 203)).astype(dtype)
    markers = ("DAPI", "CD3", "PanCK")
    path = write_qptiff(tmp_path / "a.qptiff", planes, markers=markers, mpp=0.5)
    image = open_image(path)
    assert image.container.startswith("Akoya QPTIFF")
    assert image.channels == markers
    assert [level.shape for level in image.levels] == [(301, 203), (150, 101)]
    assert [series.aside for series in image.series] == ["", "a thumbnail", "a macro", "a label"]
    image.close()
    with open_slide(path, channel="panck") as slide:
        assert slide.mpp == pytest.approx(0.5, rel=1e-4)
        assert np.array_equal(slide.read(Box.of_shape(slide.shape))[..., 0], planes[2])
    with open_slide(path, channel="CD3", at_mpp=1.0) as slide:
        assert slide.resolution.level == 1
