"""Pixel sizes of every source, in every unit, or a sentence on why there is none."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from support.foreign_files import gray, open_group, write_ngff, write_ome_xml
from support.slide_files import write_svs

from nucleipel.errors import ImageError
from nucleipel.io.slides.formats import open_image
from nucleipel.io.slides.formats.pixel_size import says
from nucleipel.io.slides.formats.units import um_per_unit
from nucleipel.io.slides.resolution import describe_mpp
from nucleipel.io.slides.slide import open_slide

HALF = {
    "\u00b5m": 0.5, "\u03bcm": 0.5, "um": 0.5, "micron": 0.5, "Microns": 0.5, "micrometre": 0.5,
    "nm": 500, "nanometer": 500, "mm": 5e-4, "millimeter": 5e-4, "cm": 5e-5, "centimeter": 5e-5,
    "\u00c5": 5000, "\u212b": 5000, "angstrom": 5000, "pm": 5e5, "m": 5e-7, "in": 0.5 / 25400,
    "\u00c2\u00b5m": 0.5, "\u00ce\u00bcm": 0.5, "dm": 5e-6, "meter": 5e-7,
    "inch": 0.5 / 25400, "thou": 0.5 / 25.4,
}  # fmt: skip


@pytest.mark.parametrize("unit", HALF)
def test_one_table_of_units_for_all_formats(tmp_path: Path, unit: str) -> None:
    size = HALF[unit]
    said = " ".join(f'PhysicalSize{a}="{size}" PhysicalSize{a}Unit="{unit}"' for a in "XY")
    ome = write_ome_xml(tmp_path / "a.ome.tif", gray(), said)
    scale = [{"type": "scale", "scale": [size, size]}]
    write_ngff(open_group(tmp_path / "a.zarr"), gray(), "yx", unit=unit, transforms=scale)
    for path in (ome, tmp_path / "a.zarr"):
        with open_slide(path) as slide:
            assert slide.mpp == pytest.approx(0.5), path


@pytest.mark.parametrize("unit", ["micron", "\\u00B5m", "um", "nm", "mm"])
def test_units_of_imagej(tmp_path: Path, unit: str) -> None:
    per_unit = (um_per_unit(unit) or 0) / 0.5
    options = {"imagej": True, "resolution": (per_unit, per_unit)}
    tifffile.imwrite(tmp_path / "a.tif", gray(), metadata={"unit": unit}, **options)
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.mpp == pytest.approx(0.5, rel=1e-3)


def test_a_capital_changes_a_prefix() -> None:
    assert um_per_unit("Mm") == 1e12
    assert um_per_unit("MM") == um_per_unit("mm") == 1e3
    assert um_per_unit("furlong") is um_per_unit("pixel") is um_per_unit("") is None


def test_xml_in_single_quotes(tmp_path: Path) -> None:
    said = 'PhysicalSizeX="0.5" PhysicalSizeXUnit="micron"'
    path = write_ome_xml(tmp_path / "a.ome.tif", gray(), said, quote="'")
    with open_slide(path) as slide:
        assert slide.mpp == 0.5


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ('PhysicalSizeX="0.5" PhysicalSizeXUnit="furlong"',
         "OME-XML says 0.5 'furlong', no unit of length that is known"),
        ('PhysicalSizeX="0.5" PhysicalSizeXUnit="pixel"',
         "OME-XML says 0.5 'pixel', no unit of length that is known"),
        ('PhysicalSizeX="nought"', "OME-XML says nought, no pixel size"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_named(tmp_path: Path, said: str, sentence: str) -> None:
    path = write_ome_xml(tmp_path / "a.ome.tif", gray(), said)
    image = open_image(path)
    assert describe_mpp(image.pixel_sizes, stated=None) == f"unknown: {sentence}"
    image.close()
    with pytest.raises(ImageError) as raised:
        open_slide(path, at_mpp=0.5)
    assert str(raised.value).startswith(f"{path}: {sentence}; the working mpp is 0.5")
    open_slide(path, at_mpp=0.5, mpp=0.5).close()


def test_a_scale_without_a_unit_is_named(tmp_path: Path) -> None:
    write_ngff(open_group(tmp_path / "a.zarr"), gray(), "yx", unit=None)
    with pytest.raises(ImageError, match=r"OME-Zarr scale says 0\.5 without a unit; the working"):
        open_slide(tmp_path / "a.zarr", at_mpp=0.5)


@pytest.mark.parametrize("size", [325, 0.0001])
def test_a_size_that_no_microscope_has(tmp_path: Path, size: float) -> None:
    said = f'PhysicalSizeX="{size}" PhysicalSizeY="{size}"'
    ome = write_ome_xml(tmp_path / "a.ome.tif", gray(), said)
    scale = [{"type": "scale", "scale": [size, size]}]
    write_ngff(open_group(tmp_path / "a.zarr"), gray(), "yx", transforms=scale)
    for path, where in ((ome, "OME-XML"), (tmp_path / "a.zarr", "OME-Zarr scale")):
        with pytest.raises(ImageError) as raised:
            open_slide(path)
        assert str(raised.value).startswith(
            f"{path}: {says(where)} {size} um per pixel; expected 0.01 to 100; correct the file"
        )
        with open_slide(path, mpp=0.325) as slide:  # the user's word on it
            assert slide.mpp == 0.325


def test_xml_that_was_cut_is_named(tmp_path: Path) -> None:
    path = write_ome_xml(tmp_path / "whole.ome.tif", gray(), 'PhysicalSizeX="0.5"')
    with tifffile.TiffFile(path) as tiff:
        text = tiff.ome_metadata[:-6]
    tifffile.imwrite(tmp_path / "a.ome.tif", gray(), description=text.encode(), metadata=None)
    with pytest.raises(ImageError, match=r"its OME-XML cannot be parsed; the working mpp is 0\.5"):
        open_slide(tmp_path / "a.ome.tif", at_mpp=0.5)


def test_a_decimal_comma_of_aperio(tmp_path: Path) -> None:
    pixels = np.zeros((70, 90, 3), np.uint8)
    path = write_svs(tmp_path / "a.svs", [pixels], mpp="0,4990")  # type: ignore[arg-type]
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx(0.499)
