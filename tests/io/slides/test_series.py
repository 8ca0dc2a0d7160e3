"""Files of several images: all are listed, one is chosen or the user is asked to."""

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile
from support.foreign_files import (
    gray,
    open_group,
    write_bioformats2raw,
    write_ngff,
    write_plate,
    write_positions,
    write_series,
)
from support.slide_files import write_svs

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.manifest import manifest_of_images, read_manifest
from nucleipel.io.slides.formats import open_image
from nucleipel.io.slides.slide import image_stem

SMALL, LARGE = gray(1, (20, 30)), gray(2)


def _read(path: Path, **wish: int | str) -> np.ndarray:
    image = open_image(path, **wish)
    pixels = image.read(0, Box.of_shape(image.shape))
    image.close()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


@pytest.mark.parametrize("name", ["macro", "Label", "thumbnail image", "slide overview"])
def test_pictures_of_the_slide_are_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    color = np.full((20, 30, 3), 200, np.uint8)
    path = write_series(tmp_path / "a.ome.tif", {name: color, "slide": LARGE})
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(_read(path), LARGE)
        _read(path)
    (line,) = [record.getMessage() for record in caplog.records if record.name != "tifffile"]
    assert line.startswith(f"{path}: series 1 is read, of 0 '{name}' (20 x 30 px, a ")
    assert np.array_equal(_read(path, series=0), color)


def test_after_a_macro_the_largest_is_read(tmp_path: Path) -> None:
    path = write_series(
        tmp_path / "a.ome.tif", {"macro": SMALL, "near": gray(3, (40, 40)), "x": LARGE}
    )
    assert np.array_equal(_read(path), LARGE)
    path = write_series(tmp_path / "b.ome.tif", {"macro": SMALL, "one": LARGE, "two": LARGE + 1})
    with pytest.raises(ImageError, match="holds 2 images; choose one with --series"):
        open_image(path)


def test_scenes_are_chosen_by_index_or_name(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a.ome.tif", {"scene0": SMALL, "Scene1": LARGE})
    with pytest.raises(ImageError) as raised:
        open_image(path)
    assert str(raised.value) == (
        f"{path}: holds 2 images; choose one with --series (or the manifest's column series):"
        " 0 'scene0' (20 x 30 px), 1 'Scene1' (60 x 80 px)"
    )
    for wish in (1, "Scene1", "scene1"):
        assert np.array_equal(_read(path, series=wish), LARGE)
    with pytest.raises(ImageError, match=r"has no series 'three'; it has 0 'scene0'"):
        open_image(path, series="three")
    with pytest.raises(ImageError, match=r"has no series '2'"):
        open_image(path, series=2)


def test_every_file_of_positions_gives_its_own(tmp_path: Path) -> None:
    images = [gray(seed) for seed in range(3)]
    for path, pixels in zip(write_positions(tmp_path, images), images, strict=True):
        assert np.array_equal(_read(path), pixels)


def test_the_slide_of_a_vendor_is_its_first(tmp_path: Path) -> None:
    color = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    path = write_svs(tmp_path / "a.svs", [color], mpp=0.5)
    assert np.array_equal(_read(path), color)
    image = open_image(path)
    assert [series.aside for series in image.series] == ["", "a thumbnail"]
    image.close()


def test_pages_of_other_sizes_in_a_plain_tiff(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for pixels in (LARGE, gray(3, (50, 70))):
            tiff.write(pixels, metadata=None)
    with pytest.raises(ImageError, match=r"holds 2 images; .*: 0 \(60 x 80 px\), 1 \(50 x 70 px\)"):
        open_image(tmp_path / "a.tif")


def test_series_of_bioformats2raw(tmp_path: Path) -> None:
    path = write_bioformats2raw(tmp_path / "a.zarr", {"Region 1": SMALL, "Region 2": LARGE})
    with pytest.raises(ImageError, match=r"0 'Region 1' \(20 x 30 px\), 1 'Region 2' \(60 x 80"):
        open_image(path)
    assert np.array_equal(_read(path, series="Region 2"), LARGE)
    path = write_bioformats2raw(tmp_path / "b.zarr", {"label image": SMALL, "slide": LARGE})
    assert np.array_equal(_read(path), LARGE)


def test_fields_of_a_plate(tmp_path: Path) -> None:
    path = write_plate(tmp_path / "p.zarr", {"A/1/0": SMALL, "A/1/1": LARGE, "B/2/0": gray(5)})
    with pytest.raises(ImageError, match=r"holds 3 images; .*: 0 'A/1/0' \(20 x 30 px\)"):
        open_image(path)
    assert np.array_equal(_read(path, series="A/1/1"), LARGE)
    assert np.array_equal(_read(path / "A/1/1"), LARGE)
    assert np.array_equal(_read(path / "A/1", series="1"), LARGE)
    assert image_stem(path / "A/1/1") == "p_A_1_1"
    rows = manifest_of_images([path / "A/1/0", path / "B/2/0"]).rows
    assert [row.id for row in rows] == ["p_A_1_0", "p_B_2_0"]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_images_of_spatialdata(tmp_path: Path, zarr_format: int) -> None:
    root = open_group(tmp_path / "s.zarr", zarr_format=zarr_format)
    write_ngff(root.create_group("images/tissue"), np.stack([LARGE]), "cyx")
    write_ngff(root.create_group("labels/nuclei"), SMALL, "yx")
    assert np.array_equal(_read(tmp_path / "s.zarr"), LARGE)
    assert np.array_equal(_read(tmp_path / "s.zarr/images/tissue"), LARGE)
    assert np.array_equal(_read(tmp_path / "s.zarr/labels/nuclei"), SMALL)
    with pytest.raises(ImageError, match="a zarr array without OME-Zarr metadata; name the image"):
        open_image(tmp_path / "s.zarr/images/tissue/0")


def test_a_row_of_a_manifest_names_its_series(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a.ome.tif", {"one": SMALL, "two": LARGE})
    table = tmp_path / "m.csv"
    table.write_text(
        "image,label,split,source_id,id,series\na.ome.tif,,,,first,0\na.ome.tif,,,,second,two\n"
    )
    assert [row.series for row in read_manifest(table).rows] == [0, "two"]
    table.write_text("image,label,split,source_id\na.ome.tif,,,\n")
    with pytest.raises(Exception, match="holds 2 images"):
        read_manifest(table)
    assert read_manifest(table, series=1).rows[0].series == 1
    assert manifest_of_images([path], series="two").rows[0].series == "two"


def test_two_images_in_the_metadata_of_one_group(tmp_path: Path) -> None:
    group = open_group(tmp_path / "a.zarr")
    write_ngff(group, LARGE, "yx")
    group.create_array("1", shape=SMALL.shape, chunks=SMALL.shape, dtype=SMALL.dtype)[...] = SMALL
    attributes = dict(group.attrs)
    second = {**attributes["multiscales"][0], "name": "second"}
    second["datasets"] = [{**second["datasets"][0], "path": "1"}]
    attributes["multiscales"].append(second)
    group.attrs.update(attributes)
    with pytest.raises(ImageError, match="holds 2 images; "):
        open_image(tmp_path / "a.zarr")
    assert np.array_equal(_read(tmp_path / "a.zarr", series="second"), SMALL)
