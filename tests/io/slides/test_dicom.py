"""Slides in DICOM: every way to say where frames lie and to pack them, levels, channels, faults."""

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.dicom_files import read_dataset, write_dicom
from support.slide_files import halves

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.annotations.pairing import images_below
from nucleipel.io.slides.formats import open_image
from nucleipel.io.slides.slide import open_slide


def _waves(channels: int = 3) -> np.ndarray:
    y, x = np.mgrid[:201, :301]
    waves = [np.sin(y / (9 + c)) + np.cos(x / (13 - 2 * c)) for c in range(channels)]
    return ((np.stack(waves, axis=-1) + 2) / 4 * 200 + 20).astype(np.uint8)


def _read(path: Path) -> np.ndarray:
    image = open_image(path)
    whole = image.read(0, Box.of_shape(image.shape))
    box = Box(13, 20, 131, 177)
    assert np.array_equal(image.read(0, box), whole[box.slices])
    image.close()
    return whole


@pytest.mark.parametrize("order", ["TILED_FULL", "TILED_SPARSE", "rows", "columns"])
@pytest.mark.parametrize("syntax", ["explicit", "implicit", "jpeg2000", "jpeg-ls"])
def test_frames_lie_where_the_file_or_their_edges_say(
    tmp_path: Path, order: str, syntax: str
) -> None:
    pixels = _waves()
    path = write_dicom(tmp_path / "a.dcm", pixels, order=order, syntax=syntax)
    assert np.array_equal(_read(path), pixels)
    with open_slide(path) as slide:
        assert (slide.mpp, slide.image.is_color, slide.shape) == (0.5, True, (201, 301))


@pytest.mark.parametrize("table", ["basic", "none", "extended", "pieces"])
@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "RGB"])
def test_tables_of_offsets_and_jpeg(tmp_path: Path, table: str, photometric: str) -> None:
    path = write_dicom(
        tmp_path / "a.dcm", _waves(), syntax="jpeg", table=table, photometric=photometric
    )
    assert np.abs(_read(path).astype(int) - _waves()).mean() < 3


def test_an_order_that_nothing_shows_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (201, 301, 3), np.uint8)
    path = write_dicom(tmp_path / "noise.dcm", noise, order="columns")
    with pytest.raises(ImageError, match="does not say where its frames lie, and their pixels"):
        open_image(path)
    path = write_dicom(tmp_path / "even.dcm", np.full((256, 320, 3), 200, np.uint8), order="rows")
    with pytest.raises(ImageError, match="does not say where its frames lie"):
        open_image(path)
    path = write_dicom(tmp_path / "a.dcm", _waves(), order="columns")
    with caplog.at_level(logging.WARNING):
        open_image(path).close()
    assert "they fit together in columns (edges differ by" in caplog.text


def test_a_folder_is_a_slide_of_levels(tmp_path: Path) -> None:
    levels = halves(_waves(), 3)
    for index, pixels in enumerate(levels):
        write_dicom(tmp_path / "s" / f"{index}.dcm", pixels, mpp=0.5 * 2**index)
    write_dicom(tmp_path / "s" / "l.dcm", _waves()[:50, :40], flavor="LABEL", mpp=None)
    assert images_below(tmp_path) == {"s": tmp_path / "s"}
    image = open_image(tmp_path / "s")
    assert [level.downsample for level in image.levels] == [1, 2, 4]
    for index, pixels in enumerate(levels):
        assert np.array_equal(image.read(index, Box.of_shape(pixels.shape[:2])), pixels)
    assert [series.aside for series in image.series] == ["", "a label"]
    image.close()
    with open_slide(tmp_path / "s", at_mpp=1.0) as slide:
        assert slide.resolution.level == 1


def test_two_slides_in_a_folder(tmp_path: Path) -> None:
    names = {"1.2.1": "first", "1.2.2": "second"}
    for uid, name in names.items():
        write_dicom(tmp_path / "s" / f"{name}.dcm", _waves(), series=uid, SeriesDescription=name)
    with pytest.raises(ImageError, match=r"holds 2 images; .*: 0 'first' \(201 x 301 px\), 1 'sec"):
        open_image(tmp_path / "s")
    image = open_image(tmp_path / "s", series="second")
    assert image.source.series == 1
    image.close()


def test_files_without_a_suffix_are_known_by_their_mark(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "s" / "1.2.840.1", _waves())
    assert np.array_equal(_read(path), _waves())
    assert np.array_equal(_read(tmp_path / "s"), _waves())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_dyes_in_one_file_or_in_a_file_each(tmp_path: Path, dtype: Any) -> None:
    planes = np.ascontiguousarray(_waves(4).transpose(2, 0, 1)).astype(dtype)
    names = ["1", "2", "3", "4"]
    for order in ("TILED_FULL", "TILED_SPARSE"):
        write_dicom(tmp_path / f"{order}.dcm", planes, path_names=names, order=order)
        assert np.array_equal(_read(tmp_path / f"{order}.dcm"), planes.transpose(1, 2, 0))
    for name, plane in zip(names, planes, strict=True):
        write_dicom(tmp_path / "s" / f"{name}.dcm", plane, path_names=[name])
    with open_slide(tmp_path / "s", channel="dye 3") as slide:
        assert slide.image.channels == tuple(f"dye {name}" for name in names)
        assert slide.dtype == dtype
        assert np.array_equal(slide.read(Box.of_shape(slide.shape))[..., 0], planes[2])


def test_an_instance_that_was_cut_into_files(tmp_path: Path) -> None:
    for number, part in enumerate((slice(0, 9), slice(9, 14), slice(14, 20))):
        write_dicom(tmp_path / "s" / f"{number}.dcm", _waves(), only=part)
    assert np.array_equal(_read(tmp_path / "s"), _waves())
    (tmp_path / "s" / "1.dcm").unlink()
    with pytest.raises(ImageError, match="has 15 of 20 tiles; copy the slide again"):
        open_image(tmp_path / "s")


def test_what_was_not_scanned_is_white(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", _waves(), order="TILED_SPARSE", skip=[6])
    expected = _waves()
    expected[64:128, 64:128] = 255
    assert np.array_equal(_read(path), expected)


def test_inverted_gray(tmp_path: Path) -> None:
    gray = _waves(1)[..., 0].astype(np.uint16)
    write_dicom(tmp_path / "a.dcm", gray, photometric="MONOCHROME1", BitsStored=12)
    assert np.array_equal(_read(tmp_path / "a.dcm")[..., 0], 4095 - gray)


REFUSED = {
    "CT": ({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "DICOM CT; expected"),
    "signed": ({"PixelRepresentation": 1}, "signed pixels; expected unsigned"),
    "stack": ({"TotalPixelMatrixFocalPlanes": 3}, "a stack of focal planes; expected one"),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "photometric PALETTE COLOR"),
    "short": ({"NumberOfFrames": 25}, "25 frames for 4 x 5 tiles|truncated"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path: Path, name: str) -> None:
    fields, what = REFUSED[name]
    path = write_dicom(tmp_path / "a.dcm", _waves(), **fields)
    with pytest.raises(ImageError, match=what):
        open_image(path)


@pytest.mark.parametrize("syntax", ["explicit", "jpeg"])
def test_a_cut_file_is_refused(tmp_path: Path, syntax: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", _waves(), syntax=syntax)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(ImageError, match=r"a\.dcm: (truncated|has \d+ of 20 frames)"):
        open_image(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ImageError, match=r"a\.dcm"):
        open_image(path)


@pytest.mark.parametrize(
    ("fields", "mpp", "said"),
    [
        ({"ImagedVolumeWidth": 0.301, "ImagedVolumeHeight": 0.201}, 1.0, "imaged volume"),
        ({"ImagedVolumeWidth": 15.0, "ImagedVolumeHeight": 15.0}, None, "15 x 15 mm for 201 x"),
        ({}, None, ""),
    ],
)
def test_pixel_sizes(tmp_path: Path, fields: Any, mpp: float | None, said: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", _waves(), mpp=None, **fields)
    with open_slide(path) as slide:
        assert slide.mpp == (pytest.approx(mpp) if mpp else None)
        assert said in str(slide.image.pixel_sizes)


def test_without_pydicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_dicom(tmp_path / "a.dcm", _waves())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImageError, match=r"pip install 'nucleipel\[dicom\]'"):
        open_image(path)


def test_openslide_reads_the_same(tmp_path: Path) -> None:
    import openslide

    levels = halves(_waves(), 2)
    for index, pixels in enumerate(levels):
        write_dicom(tmp_path / "s" / f"{index}.dcm", pixels, mpp=0.5 * 2**index, syntax="jpeg",
                    photometric="YBR_FULL_422")  # fmt: skip
    with openslide.OpenSlide(tmp_path / "s" / "0.dcm") as theirs:
        assert theirs.level_dimensions == ((301, 201), (150, 100))
        seen = np.asarray(theirs.read_region((0, 0), 0, (301, 201)))[..., :3]
    assert np.abs(seen.astype(int) - _read(tmp_path / "s")).max() <= 2


def test_a_real_slide_whose_order_no_attribute_tells(real_data: Path) -> None:
    path = real_data / "slides" / "TCGA-XK-AAJU-small.dcm"
    dataset = read_dataset(path)
    assert "DimensionOrganizationType" not in dataset
    assert "PerFrameFunctionalGroupsSequence" not in dataset
    image = open_image(path)
    assert image.shape == (2638, 3236)
    pixels = image.read(0, Box.of_shape(image.shape)).astype(int)
    for side in (500, 1000, 1500, 2000, 2500):  # an edge of frames is no edge in the picture
        assert np.abs(pixels[side] - pixels[side - 1]).mean() < 15
        assert np.abs(pixels[:, side] - pixels[:, side - 1]).mean() < 15
    assert image.pixel_sizes.unread == ("DICOM imaged volume says 15 x 15 mm for 2638 x 3236 px",)
    image.close()
