"""A slide at any mpp: from the right level, in the right frame, the same however it is cut."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.slide_files import halves, write_ome

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.slides.slide import open_annotation, open_slide
from nucleipel.io.slides.write_slide import write_annotation

MPP = 0.25


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (333, 517, 3), np.uint8)
    path = tmp_path_factory.mktemp("pyramid") / "a.ome.tif"
    return write_ome(path, halves(pixels, 4), axes="YXS", mpp=MPP)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(at_mpp=st.floats(MPP / 2, MPP * 20), data=st.data())
def test_a_window_equals_the_same_window_of_the_whole(
    pyramid: Path, at_mpp: float, data: st.DataObject
) -> None:
    with open_slide(pyramid, at_mpp=at_mpp, enlarge=True) as slide:
        height, width = slide.shape
        whole = slide.read(Box.of_shape(slide.shape))
        y0 = data.draw(st.integers(1 - height, height - 1))
        x0 = data.draw(st.integers(1 - width, width - 1))
        box = Box(
            y0, x0, y0 + data.draw(st.integers(1, height)), x0 + data.draw(st.integers(1, width))
        )
        pad = [(max(height - 1, 1),) * 2, (max(width - 1, 1),) * 2, (0, 0)]
        mirrored = np.pad(whole, pad, mode="reflect" if min(height, width) > 1 else "edge")
        wanted = mirrored[box.shift(pad[0][0], pad[1][0]).slices]
        assert np.array_equal(slide.read(box), wanted)


@pytest.mark.parametrize(
    ("at_mpp", "level", "shape", "mpp"),
    [
        (None, 0, (333, 517), 0.25),
        (0.254, 0, (333, 517), 0.25),  # within 2 %
        (0.5, 1, (166, 258), 0.5),  # a level as it is
        (1.01, 2, (83, 129), 1.0),
        (0.4, 0, (208, 323), 0.4),
        (0.8, 1, (104, 162), 0.8),
        (9.0, 3, (9, 14), 9.0),
        (0.2, 0, (416, 646), 0.2),
    ],
)
def test_the_level_and_the_frame(
    pyramid: Path, at_mpp: float | None, level: int, shape: tuple[int, int], mpp: float
) -> None:
    with open_slide(pyramid, at_mpp=at_mpp, enlarge=True) as slide:
        assert (slide.resolution.level, slide.shape) == (level, shape)
        assert slide.mpp == pytest.approx(mpp)
        if at_mpp in (0.5, None):
            assert np.array_equal(
                slide.read(Box.of_shape(shape)), slide.image.read(level, Box.of_shape(shape))
            )


def test_what_is_done_in_words(pyramid: Path) -> None:
    words = {
        None: "level 0 read pixel for pixel at 0.25 um: 333 x 517 px",
        0.8: "level 1 averaged down 1.6x to 0.8 um: 104 x 162 px",
        0.125: "level 0 enlarged 2x to 0.125 um: 666 x 1034 px",
    }
    for at_mpp, message in words.items():
        with open_slide(pyramid, at_mpp=at_mpp, enlarge=True) as slide:
            assert slide.resolution.describe() == message


def test_large_regions_are_averaged_in_bands(
    pyramid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_slide(pyramid, at_mpp=0.45) as slide:
        whole = slide.read(Box.of_shape(slide.shape))
        monkeypatch.setattr("nucleipel.io.slides.slide.BAND_PX", 3000)
        assert np.array_equal(slide.read(Box.of_shape(slide.shape)), whole)


def test_ids_stay_under_their_nuclei(tmp_path: Path) -> None:
    """Discs drawn at level 0 lie, at any working mpp, where the resampled image shows them."""
    y, x = np.mgrid[:400, :500]
    ids = np.zeros((400, 500), np.uint32)
    for index, (cy, cx) in enumerate([(60, 70), (200, 333), (345, 450), (300, 20)]):
        ids[np.hypot(y + 0.5 - cy, x + 0.5 - cx) < 18] = 70001 + index
    write_ome(tmp_path / "a.ome.tif", halves((ids > 0) * np.uint8(200), 3), axes="YX", mpp=MPP)
    write_annotation(tmp_path / "ids.tif", ids)
    for at_mpp in (0.2, 0.25, 0.37, 0.5, 0.8, 1.0, 1.7):
        with (
            open_slide(tmp_path / "a.ome.tif", at_mpp=at_mpp, enlarge=True) as slide,
            open_annotation(tmp_path / "ids.tif", resolution=slide.resolution) as annotation,
        ):
            frame = Box.of_shape(slide.shape)
            shown, drawn = slide.read(frame)[..., 0], annotation.read(frame)
            assert drawn.shape == slide.shape
            assert set(np.unique(drawn)) == {0, 70001, 70002, 70003, 70004}
            # the annotation is inside wherever more than half of a working pixel is
            sure = np.abs(shown.astype(int) - 100) > 60
            assert np.array_equal((drawn > 0)[sure], (shown > 100)[sure]), at_mpp
            for index, (cy, cx) in enumerate([(60, 70), (200, 333), (345, 450), (300, 20)]):
                rows, columns = np.nonzero(drawn == 70001 + index)
                scale = slide.resolution.ratio
                assert math.hypot(
                    (rows.mean() + 0.5) * scale - cy, (columns.mean() + 0.5) * scale - cx
                ) < max(1.0, 0.3 * scale)
            part = Box(5, 7, slide.shape[0] + 3, 40)
            assert np.array_equal(annotation.read(part)[: slide.shape[0] - 5], drawn[5:, 7:40])


def test_thumbnails_come_from_a_low_level(pyramid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_slide(pyramid) as slide:
        shown = slide.intensity_range()
        monkeypatch.setattr(type(slide), "intensity_range", lambda _: shown)
        levels = []
        read = type(slide.image).read
        monkeypatch.setattr(
            type(slide.image),
            "read",
            lambda image, level, box: levels.append(level) or read(image, level, box),
        )
        small = slide.thumbnail(max_px=100)
    assert small.shape == (56, 87, 3)  # squares of 6 px, cut by the edge
    assert set(levels) <= {1, 2}  # 1 to recognize a stained slide, 2 to draw it
    assert 2 in levels


def test_a_level_without_the_last_cut_pixel_is_read_to_its_end(pyramid: Path) -> None:
    with open_slide(pyramid) as slide:
        coarse = slide.coarse(2)
        assert coarse.shape == (167, 259)
        assert coarse.resolution.level_shape == (166, 258)
        whole = coarse.read(Box.of_shape(coarse.shape))
        assert np.array_equal(whole[:166, :258], slide.image.read(1, Box(0, 0, 166, 258)))


def test_negative_ids_are_refused(tmp_path: Path) -> None:
    write_annotation(tmp_path / "ids.tif", np.full((9, 9), -1, np.int16))
    with (
        pytest.raises(ImageError, match=r"ids\.tif: holds the negative id -1"),
        open_annotation(tmp_path / "ids.tif") as annotation,
    ):
        annotation.read(Box(0, 0, 9, 9))
