"""Slides are read by region, in their own dtype, and nothing is guessed."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.slide import (
    image_stem,
    open_annotation,
    open_slide,
    read_annotation,
    require_fit,
)
from nucleipel.io.write_slide import write_annotation, write_slide


@pytest.fixture
def colour() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)


def test_the_same_pixels_from_every_container(tmp_path: Path, colour: np.ndarray) -> None:
    write_slide(tmp_path / "a.ome.tif", colour, mpp=0.25)
    Image.fromarray(colour).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "striped.tif", colour, rowsperstrip=8, photometric="rgb")
    tifffile.imwrite(
        tmp_path / "planar.tif", np.moveaxis(colour, -1, 0), photometric="rgb", planarconfig=2
    )
    box = Box(13, 20, 61, 77)
    for name in ("a.ome.tif", "a.png", "striped.tif", "planar.tif"):
        with open_slide(tmp_path / name) as slide:
            assert (slide.shape, slide.channels) == ((70, 90), 3), name
            assert np.array_equal(slide.read(box), colour[box.slices]), name


def test_beyond_the_edge_the_image_is_mirrored(tmp_path: Path, colour: np.ndarray) -> None:
    write_slide(tmp_path / "a.ome.tif", colour, mpp=None)
    padded = np.pad(colour, ((100, 100), (100, 100), (0, 0)), mode="reflect")
    with open_slide(tmp_path / "a.ome.tif") as slide:
        got = slide.read(Box(-100, -100, 170, 190))
    assert np.array_equal(got, padded)


def test_sixteen_bits_keep_their_low_byte(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 2**16, (40, 50), np.uint16)
    write_slide(tmp_path / "a.ome.tif", pixels, mpp=None)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for name in ("a.ome.tif", "a.png"):
        with open_slide(tmp_path / name) as slide:
            assert slide.dtype == np.uint16
            assert np.array_equal(slide.read(Box(0, 0, 40, 50))[..., 0], pixels)


def test_mpp_comes_from_the_file_or_the_user_and_they_must_agree(tmp_path: Path) -> None:
    pixels = np.zeros((20, 20), np.uint8)
    write_slide(tmp_path / "told.ome.tif", pixels, mpp=0.25)
    write_slide(tmp_path / "silent.ome.tif", pixels, mpp=None)
    tifffile.imwrite(
        tmp_path / "tagged.tif", pixels, resolution=(20000, 20000), resolutionunit="CENTIMETER"
    )
    tifffile.imwrite(tmp_path / "printer.tif", pixels, resolution=(72, 72), resolutionunit="INCH")
    cases = {"told.ome.tif": 0.25, "silent.ome.tif": None, "tagged.tif": 0.5, "printer.tif": None}
    for name, mpp in cases.items():
        with open_slide(tmp_path / name) as slide:
            assert slide.mpp == (pytest.approx(mpp) if mpp else None), name
    with open_slide(tmp_path / "told.ome.tif", mpp=0.2527) as slide:
        assert slide.mpp == 0.2527
    with open_slide(tmp_path / "silent.ome.tif", mpp=0.5) as slide:
        assert slide.mpp == 0.5
    with pytest.raises(ImageError, match=r"the file says 0\.25 .* 0\.5"):
        open_slide(tmp_path / "told.ome.tif", mpp=0.5)


def test_working_mpp_and_channels_are_checked(tmp_path: Path, colour: np.ndarray) -> None:
    write_slide(tmp_path / "silent.ome.tif", colour, mpp=None)
    write_slide(tmp_path / "told.ome.tif", colour, mpp=0.25)
    with open_slide(tmp_path / "silent.ome.tif") as slide:
        require_fit(slide, mpp=None, channels=3)
        with pytest.raises(ImageError, match="its mpp is in neither file nor manifest"):
            require_fit(slide, mpp=0.5, channels=3)
        with pytest.raises(ImageError, match="is in colour, the network takes 1 channel"):
            require_fit(slide, mpp=None, channels=1)
    with open_slide(tmp_path / "told.ome.tif") as slide:
        require_fit(slide, mpp=0.2527, channels=3)
        with pytest.raises(ImageError, match=r"has 0\.25 um per pixel, the working mpp is 0\.5"):
            require_fit(slide, mpp=0.5, channels=3)


def _damaged(folder: Path) -> Path:
    path = folder / "cut.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8))
    path.write_bytes(path.read_bytes()[:20000])
    return path


def _cut_png(folder: Path) -> Path:
    path = folder / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:20000])
    return path


def _transparent(folder: Path) -> Path:
    path = folder / "glassy.png"
    Image.fromarray(np.full((9, 9, 4), 100, np.uint8)).save(path)
    return path


def _written(name: str, pixels: np.ndarray, **options: object) -> object:
    def write(folder: Path) -> Path:
        tifffile.imwrite(folder / name, pixels, **options)
        return folder / name

    return write


def _text(name: str, content: bytes) -> object:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "gone.png", "no such file"),
        (lambda folder: folder, "no such file"),
        (_text("notes.txt", b"hello"), "unknown kind of image '.txt'"),
        (_text("empty.png", b""), "cannot be read as an image"),
        (_text("page.tif", b"<html>not found</html>"), "cannot be read as TIFF"),
        (_cut_png, "cannot be read as an image"),
        (_transparent, "has transparent pixels"),
        (_written("float.tif", np.zeros((9, 9), np.float32)), "pixels are float32"),
        (_written("five.tif", np.zeros((9, 9, 5), np.uint8)), "5 channels|axes"),
        (
            _written("stack.tif", np.zeros((6, 9, 9), np.uint8), photometric="minisblack"),
            "axes QYX",
        ),
        (
            _written("white.tif", np.zeros((9, 9), np.uint8), photometric="miniswhite"),
            "photometric MINISWHITE",
        ),
    ],
)
def test_what_would_be_guessed_at_is_refused(tmp_path: Path, make: object, message: str) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    with pytest.raises(ImageError, match=message) as caught:
        open_slide(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pixels_that_cannot_be_decoded_name_the_file(tmp_path: Path) -> None:
    path = _damaged(tmp_path)
    with (
        pytest.raises(ImageError, match=r"cut\.tif: cannot"),
        open_slide(path) as slide,
    ):
        slide.read(Box.of_shape(slide.shape))


def test_an_annotation_is_one_integer_channel(tmp_path: Path) -> None:
    ids = np.arange(12, dtype=np.uint32).reshape(3, 4) + 70000
    write_annotation(tmp_path / "ids.tif", ids)
    assert np.array_equal(read_annotation(tmp_path / "ids.tif"), ids)
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(tmp_path / "colour.png")
    tifffile.imwrite(tmp_path / "float.tif", np.zeros((5, 5), np.float32))
    for name in ("colour.png", "float.tif"):
        with pytest.raises(ImageError, match="expected one integer channel"):
            open_annotation(tmp_path / name)
    with pytest.raises(ImageError, match="no such file"):
        open_annotation(tmp_path / "gone.tif")


def test_a_large_slide_is_sampled_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.zeros((600, 700), np.uint8)
    pixels[:, 350:] = 200
    write_slide(tmp_path / "a.ome.tif", pixels, mpp=None)
    monkeypatch.setattr("nucleipel.io.slide.WHOLE_READ_LIMIT_PX", 1000)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert slide.intensity_range().low == (0.0,)
        assert slide.intensity_range().high == (200.0,)


def test_a_constant_image_is_normalized_to_zero(tmp_path: Path) -> None:
    write_slide(tmp_path / "a.ome.tif", np.full((20, 20), 7, np.uint8), mpp=None)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert slide.intensity_range().normalize(slide.read(Box(0, 0, 20, 20))).max() == 0


def test_thumbnail_shows_the_whole_image_in_few_pixels(tmp_path: Path) -> None:
    pixels = np.zeros((100, 250), np.uint8)
    pixels[:50] = 255
    write_slide(tmp_path / "a.ome.tif", pixels, mpp=None)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        small = slide.thumbnail(max_px=100)
    assert small.shape == (34, 84, 3)
    assert (small[:16] == 255).all()
    assert (small[17:] == 0).all()


def test_stems() -> None:
    assert image_stem(Path("x/a.ome.tif")) == "a"
    assert image_stem(Path("a.b.svs")) == "a.b"


@pytest.mark.parametrize(
    ("name", "shape", "mpp"),
    [
        ("CMU-1-Small-Region.svs", (2967, 2220), 0.499),
        ("tcga-cr-7395-01a-01-ts1.svs", (3567, 4443), None),
        ("OS-2-vsi.ome.tif", (1445, 1445), 0.3461),
    ],
)
def test_real_slides_by_region(
    real_data: Path, name: str, shape: tuple[int, int], mpp: float | None
) -> None:
    whole = tifffile.imread(real_data / "slides" / name)
    box = Box(700, 900, 1100, 1333)
    with open_slide(real_data / "slides" / name) as slide:
        assert slide.shape == shape
        assert slide.mpp == (pytest.approx(mpp, rel=1e-3) if mpp else None)
        assert np.array_equal(slide.read(box), whole[box.slices])
