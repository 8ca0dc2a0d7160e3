"""CZI: levels, scenes, dyes and depths, of files written by hand and by Zeiss's own library."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.czi_files import Block, write_czi

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.slides.formats import open_image
from nucleipel.io.slides.slide import open_slide


def _noise(shape: tuple[int, ...], dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


def _read(path: Path, level: int = 0, **wish: int | str) -> np.ndarray:
    image = open_image(path, **wish)
    shape = image.levels[level].shape
    whole = image.read(level, Box.of_shape(shape))
    box = Box(shape[0] // 3, shape[1] // 5, shape[0] - 3, shape[1] - 7)
    assert np.array_equal(image.read(level, box), whole[box.slices])
    image.close()
    return whole


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("color", [True, False])
def test_pixels_are_those_that_were_written(tmp_path: Path, dtype: Any, color: bool) -> None:
    pixels = _noise((1300, 1500, 3) if color else (1300, 1500), dtype)
    blocks = [Block(pixels[:700], y=-50, x=100), Block(pixels[700:], y=650, x=100)]
    path = write_czi(tmp_path / "a.czi", blocks, mpp=0.22)
    assert np.array_equal(_read(path).squeeze(), pixels)
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx(0.22)
        assert slide.dtype == dtype
        assert slide.image.is_color == color
        assert slide.resolution.source.offset_px == (-50, 100)


@pytest.mark.parametrize("step", [2, 3])
def test_levels_are_those_that_are_stored(tmp_path: Path, step: int) -> None:
    pixels = _noise((1500, 2700, 3))
    coarse = np.ascontiguousarray(pixels[::step, ::step] // 2)
    blocks = [Block(pixels, y=7, x=9), Block(coarse, y=7, x=9, step=step)]
    path = write_czi(tmp_path / "a.czi", blocks, mpp=0.25)
    image = open_image(path)
    assert [level.downsample for level in image.levels] == [1, step]
    image.close()
    assert np.array_equal(_read(path, 1), coarse)
    with open_slide(path, at_mpp=0.25 * step) as slide:
        assert slide.resolution.level == 1


def test_scenes_are_images(tmp_path: Path) -> None:
    one, two = _noise((60, 80, 3)), _noise((70, 90, 3)) // 2
    blocks = [Block(one, scene=0), Block(two, y=500, x=900, scene=1)]
    path = write_czi(tmp_path / "a.czi", blocks, scenes=("ScanRegion0", "ScanRegion1"))
    with pytest.raises(ImageError, match=r"0 'ScanRegion0' \(60 x 80 px\), 1 'ScanRegion1' \(70 x"):
        open_image(path)
    assert np.array_equal(_read(path, series=0), one)
    assert np.array_equal(_read(path, series="ScanRegion1"), two)
    with open_slide(path, series=1) as slide:
        assert slide.resolution.source.offset_px == (500, 900)


def test_dyes_have_their_names(tmp_path: Path) -> None:
    planes = [_noise((60, 80), np.uint16) + number for number in range(3)]
    blocks = [Block(plane, channel=number) for number, plane in enumerate(planes)]
    path = write_czi(tmp_path / "a.czi", blocks, names=("DAPI", "AF488", "AF647"))
    with open_slide(path, channel="af488") as slide:
        assert slide.image.channels == ("DAPI", "AF488", "AF647")
        assert np.array_equal(slide.read(Box(0, 0, 60, 80))[..., 0], planes[1])


def test_between_pieces_color_is_white(tmp_path: Path) -> None:
    pixels = _noise((50, 60, 3))
    for made, ground in ((pixels, 255), (pixels[..., 0], 0)):
        path = write_czi(tmp_path / "a.czi", [Block(made), Block(made, y=100, x=100)])
        whole = _read(path).squeeze()
        assert whole.shape[:2] == (150, 160)
        assert (whole[60:90] == ground).all()
        assert np.array_equal(whole[100:, 100:], made)


def test_a_stack_is_refused(tmp_path: Path) -> None:
    blocks = [Block(_noise((50, 60)), z=number) for number in range(3)]
    with pytest.raises(ImageError, match=r"a\.czi: 3 planes along 'Z'; export one plane"):
        open_image(write_czi(tmp_path / "a.czi", blocks))


def test_kinds_that_do_not_go_together(tmp_path: Path) -> None:
    blocks = [Block(_noise((50, 60)), channel=0), Block(_noise((50, 60), np.uint16), channel=1)]
    with pytest.raises(ImageError, match="channels of Gray8, Gray16; expected one in color"):
        open_image(write_czi(tmp_path / "a.czi", blocks))


def test_files_of_zeiss_s_own_library(tmp_path: Path) -> None:
    from pylibCZIrw import czi

    pixels = _noise((300, 400, 3))
    for compression in ("uncompressed:", "zstd1:ExplicitLevel=2"):
        path = tmp_path / f"{compression[:4]}.czi"
        with czi.create_czi(str(path), compression_options=compression) as writer:
            writer.write(np.ascontiguousarray(pixels[..., ::-1]), location=(10, 20), scene=0)
            writer.write_metadata("a", scale_x=5e-7, scale_y=5e-7)
        assert np.array_equal(_read(path), pixels)
        with open_slide(path) as slide:
            assert slide.mpp == pytest.approx(0.5)


def test_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_czi(tmp_path / "a.czi", [Block(_noise((50, 60)))])
    (tmp_path / "cut.czi").write_bytes(path.read_bytes()[:400])
    (tmp_path / "page.czi").write_bytes(b"<html></html>")
    with pytest.raises(ImageError, match=r"cut\.czi: cannot be read as CZI .*copy it again"):
        open_image(tmp_path / "cut.czi")
    with pytest.raises(ImageError, match=r"page\.czi: is a web page"):
        open_image(tmp_path / "page.czi")
    monkeypatch.setitem(sys.modules, "pylibCZIrw", None)
    with pytest.raises(ImageError, match=r"pip install 'nucleipel\[czi\]'"):
        open_image(path)
