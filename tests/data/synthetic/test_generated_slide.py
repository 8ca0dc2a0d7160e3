"""A generated slide is one slide however it is cut, and holds what was asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nucleipel.core.geometry import Box
from nucleipel.data.synthetic import (
    BrightGround,
    Cores,
    CoverslipEdge,
    DarkGround,
    Dust,
    Hair,
    Islands,
    Pen,
    Piece,
    Sections,
    SingleNuclei,
    SyntheticSlide,
    Tissue,
    Void,
    build_tissue,
)

SHAPE = (1500, 2301)
SMALLER = (700, 1101)
CUTS = (
    Box(0, 0, 1, 1),
    Box(0, 0, 40, 50),
    Box(400, 500, 601, 800),
    Box(255, 511, 530, 770),
    Box(690, 1090, 700, 1101),
)


@pytest.fixture(scope="module")
def stained() -> Tissue:
    return build_tissue("h&e", side_px=512)


@pytest.fixture(scope="module")
def glowing() -> Tissue:
    return build_tissue("fluorescence", side_px=512, channels=1)


def _whole(slide: SyntheticSlide) -> np.ndarray[Any, Any]:
    return slide.read(Box.of_shape(slide.shape))


@pytest.mark.slow
def test_pixels_and_nuclei_depend_on_their_place_only(stained: Tissue, glowing: Tissue) -> None:
    piece = Piece(np.full((99, 77, 3), 7, np.uint8), 511, 611, np.eye(99, 77, dtype=int))
    artifacts = [Dust(30), Hair(2), Pen("blue"), Pen("black"), CoverslipEdge()]
    uneven = BrightGround(vignetting=0.1, frame_steps=1, gradient=0.05)
    dark = DarkGround(vignetting=0.2, haze=0.1, gradient=0.5, hot_pixels=1e-4)
    for slide in (
        SyntheticSlide(
            SMALLER,
            uneven,
            tissue=stained,
            layout=Islands(0.3),
            pieces=[piece],
            artifacts=artifacts,
            void=Void(unscanned=True),
        ),
        SyntheticSlide(SMALLER, dark, tissue=glowing, layout=Islands(0.3), artifacts=artifacts),
        SyntheticSlide(SMALLER, DarkGround(), tissue=glowing, layout=SingleNuclei(40)),
    ):
        pixels, nuclei = _whole(slide), slide.annotation(Box.of_shape(SMALLER))
        for box in CUTS:
            assert np.array_equal(slide.read(box), pixels[box.slices])
            assert np.array_equal(slide.annotation(box), nuclei[box.slices])


@pytest.mark.parametrize(
    "layout",
    [*map(Islands, (0.003, 0.05, 0.5)), *map(Sections, (0.003, 0.5)), *map(Cores, (0.05, 0.5))],
)
def test_the_share_of_tissue_is_that_of_the_setting(layout: Any, stained: Tissue) -> None:
    ground = BrightGround(noise=0)
    slide = SyntheticSlide(SHAPE, ground, tissue=stained, layout=layout)
    covered = (_whole(slide) != 243).any(axis=-1).mean()
    assert covered == pytest.approx(layout.share, rel=0.1, abs=0.001)


def test_all_tissue(stained: Tissue) -> None:
    slide = SyntheticSlide(SHAPE, BrightGround(), tissue=stained, layout=Islands(1))
    assert slide.read(Box(0, 0, 300, 300)).mean() < 230


def test_annotation_is_what_was_drawn(glowing: Tissue) -> None:
    """Without noise and haze: bright is nucleus, dark is none; none is cut by the outline."""
    ground = DarkGround(noise=0, shot_noise=0)
    slide = SyntheticSlide(SHAPE, ground, tissue=glowing, layout=Islands(0.3))
    pixels, nuclei = _whole(slide)[..., 0], slide.annotation(Box.of_shape(SHAPE))
    assert len(slide.centers()) == len(np.unique(nuclei)) - 1 > 50
    y, x = np.rint(slide.centers()).astype(int).T
    assert (nuclei[y, x] > 0).mean() > 0.99
    areas = np.bincount(nuclei.ravel())
    assert areas[areas > 0].min() >= 40, "whole nuclei only"
    assert np.median(pixels[nuclei > 0]) > 5 * np.median(pixels[nuclei == 0])
    assert (pixels[nuclei == 0] > 1000).mean() < 0.01


def test_single_nuclei(glowing: Tissue) -> None:
    slide = SyntheticSlide((4000, 3000), DarkGround(), tissue=glowing, layout=SingleNuclei(20))
    nuclei = slide.annotation(Box.of_shape(slide.shape))
    assert len(slide.centers()) == len(np.unique(nuclei)) - 1 == 20
    pixels = _whole(slide)
    assert pixels[nuclei > 0].mean() > 250
    ground = pixels[nuclei == 0]
    assert np.median(ground) == pytest.approx(100, abs=1)
    assert 1.4826 * np.median(np.abs(ground - np.median(ground))) == pytest.approx(4, abs=1.5)


def test_pieces_keep_their_pixels() -> None:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 255, (200, 300, 3), np.uint8)
    first = Piece(pixels, 100, 200, np.kron(np.arange(6).reshape(2, 3), np.ones((100, 100), int)))
    second = Piece(pixels, 600, 900, first.instance_map)
    slide = SyntheticSlide((1000, 1200), BrightGround(), pieces=[first, second])
    whole, nuclei = _whole(slide), slide.annotation(Box(0, 0, 1000, 1200))
    assert np.array_equal(whole[first.box.slices], pixels)
    assert np.array_equal(whole[second.box.slices], pixels)
    assert np.unique(nuclei[first.box.slices]).tolist() == [0, 1, 2, 3, 4, 5]
    assert np.unique(nuclei[second.box.slices]).tolist() == [0, 6, 7, 8, 9, 10]
    assert np.array_equal(slide.centers()[0], [149.5, 349.5])
    assert np.array_equal(slide.centers()[-1], [749.5, 1149.5])
    nuclei[first.box.slices] = nuclei[second.box.slices] = 0
    assert not nuclei.any()


def test_boxes_of_one_key_are_equal(stained: Tissue) -> None:
    shape = (3000, 6144)
    slide = SyntheticSlide(
        shape,
        BrightGround(vignetting=0.1, frame_steps=2),
        tissue=stained,
        layout=Islands(0.1),
        artifacts=[Dust(20), Pen(count=1)],
        void=Void(padding=0.2),
    )
    seen: dict[Any, np.ndarray[Any, Any]] = {}
    repeated = 0
    for y in range(0, 2816, 256):
        for x in range(0, 6144, 256):
            box = Box(y, x, y + 256, x + 256)
            key = slide.repeats(box)
            if key in seen:
                assert np.array_equal(slide.read(box), seen[key])
                repeated += 1
            elif key is not None:
                seen[key] = slide.read(box)
    assert repeated > 60


def test_glass_is_as_white_and_noisy_as_set_after_jpeg(tmp_path: Path) -> None:
    from nucleipel.io.slides.slide import open_slide
    from nucleipel.io.slides.write_pyramid import write_pyramid

    slide = SyntheticSlide((1100, 1100), BrightGround(243, tint=(0, -2, 3)))
    write_pyramid(tmp_path / "glass.ome.tif", slide.shape, slide.read, mpp=0.5)
    with open_slide(tmp_path / "glass.ome.tif") as opened:
        glass = opened.read(Box.of_shape(opened.shape)).reshape(-1, 3)
    assert glass.mean(axis=0) == pytest.approx([243, 241, 246], abs=0.5)
    assert glass.std(axis=0) == pytest.approx([1.5] * 3, abs=0.15)
