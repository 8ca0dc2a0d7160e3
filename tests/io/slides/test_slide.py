"""Slides are read by region, in their own dtype, and nothing is guessed."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.slides.slide import (
    image_stem,
    open_annotation,
    open_slide,
    read_annotation,
    require_channels,
)
from nucleipel.io.slides.write_slide import write_annotation, write_slide


@pytest.fixture
def color() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)


def test_the_same_pixels_from_every_container(tmp_path: Path, color: np.ndarray) -> None:
    write_slide(tmp_path / "a.ome.tif", color, mpp=0.25)
    Image.fromarray(color).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "striped.tif", color, rowsperstrip=8, photometric="rgb")
    tifffile.imwrite(
        tmp_path / "planar.tif", np.moveaxis(color, -1, 0), photometric="rgb", planarconfig=2
    )
    box = Box(13, 20, 61, 77)
    for name in ("a.ome.tif", "a.png", "striped.tif", "planar.tif"):
        with open_slide(tmp_path / name) as slide:
            assert (slide.shape, slide.channels) == ((70, 90), 3), name
            assert np.array_equal(slide.read(box), color[box.slices]), name


def test_beyond_the_edge_the_image_is_mirrored(tmp_path: Path, color: np.ndarray) -> None:
    write_slide(tmp_path / "a.ome.tif", color, mpp=None)
    padded = np.pad(color, ((100, 100), (100, 100), (0, 0)), mode="reflect")
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
    write_slide(tmp_path / "with_mpp.ome.tif", pixels, mpp=0.25)
    write_slide(tmp_path / "without.ome.tif", pixels, mpp=None)
    tifffile.imwrite(
        tmp_path / "tagged.tif", pixels, resolution=(20000, 20000), resolutionunit="CENTIMETER"
    )
    tifffile.imwrite(tmp_path / "printer.tif", pixels, resolution=(72, 72), resolutionunit="INCH")
    cases = {
        "with_mpp.ome.tif": 0.25,
        "without.ome.tif": None,
        "tagged.tif": 0.5,
        "printer.tif": None,
    }
    for name, mpp in cases.items():
        with open_slide(tmp_path / name) as slide:
            assert slide.mpp == (pytest.approx(mpp) if mpp else None), name
    with open_slide(tmp_path / "with_mpp.ome.tif", mpp=0.2527) as slide:
        assert slide.mpp == 0.2527
    with open_slide(tmp_path / "without.ome.tif", mpp=0.5) as slide:
        assert slide.mpp == 0.5
    with pytest.raises(ImageError, match=r"manifest or --mpp says 0\.5 .* OME-XML says 0\.25"):
        open_slide(tmp_path / "with_mpp.ome.tif", mpp=0.5)


def test_working_mpp_and_channels_are_checked(tmp_path: Path, color: np.ndarray) -> None:
    write_slide(tmp_path / "without.ome.tif", color, mpp=None)
    write_slide(tmp_path / "with_mpp.ome.tif", color, mpp=0.25)
    with open_slide(tmp_path / "without.ome.tif") as slide:
        require_channels(slide, 3)
        with pytest.raises(ImageError, match=r"is in color, the network takes 1; .*--channel"):
            require_channels(slide, 1)
    with pytest.raises(ImageError, match=r"its mpp is in neither file nor manifest.*--mpp"):
        open_slide(tmp_path / "without.ome.tif", at_mpp=0.5)
    with open_slide(tmp_path / "with_mpp.ome.tif", at_mpp=0.2527) as slide:
        assert slide.shape == color.shape[:2]
        assert slide.mpp == 0.25  # within 2 % pixels stay as they are, and keep their true size
    with pytest.raises(ImageError, match=r"has 0\.25 um.*the working mpp is 0\.2.*--enlarge"):
        open_slide(tmp_path / "with_mpp.ome.tif", at_mpp=0.2)
    with pytest.raises(ImageError, match="more than 2x too coarse"):
        open_slide(tmp_path / "with_mpp.ome.tif", at_mpp=0.1, enlarge=True)


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
    Image.fromarray(np.full((9, 9, 2), 100, np.uint8), mode="LA").save(path)
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
        (lambda folder: folder, "unknown kind of image|is a folder"),
        (_text("notes.txt", b"hello"), "unknown kind of image '.txt'"),
        (_text("empty.png", b""), "is empty .0 bytes."),
        (_text("page.tif", b"<html>not found</html>"), "is a web page"),
        (_cut_png, "cannot be read as PNG or JPEG .damaged or truncated at 20000 bytes"),
        (_transparent, "gray with transparent pixels"),
        (_written("float.tif", np.zeros((9, 9), np.float32)), "pixels are float32"),
        (_written("five.tif", np.zeros((9, 9, 5), np.uint8)), "axes|5 channels|unknown meaning"),
        (
            _written("stack.tif", np.zeros((6, 9, 9), np.uint8), photometric="minisblack"),
            "axes QYX",
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
        pytest.raises(ImageError, match=r"cut\.tif: truncated: needs \d+ bytes, has 20000"),
        open_slide(path) as slide,
    ):
        slide.read(Box.of_shape(slide.shape))


def test_an_annotation_is_one_integer_channel(tmp_path: Path) -> None:
    ids = np.arange(12, dtype=np.uint32).reshape(3, 4) + 70000
    write_annotation(tmp_path / "ids.tif", ids)
    assert np.array_equal(read_annotation(tmp_path / "ids.tif"), ids)
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(tmp_path / "color.png")
    tifffile.imwrite(tmp_path / "float.tif", np.zeros((5, 5), np.float32))
    for name in ("color.png", "float.tif"):
        with pytest.raises(ImageError, match="expected one integer channel"):
            open_annotation(tmp_path / name)
    with pytest.raises(ImageError, match="no such file"):
        open_annotation(tmp_path / "gone.tif")


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
