"""One list of suffixes; a zarr folder and a file of the store of a link are images by content."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from support.slide_files import write_ome_zarr

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.annotations.pairing import images_below
from nucleipel.io.slides.formats import open_image
from nucleipel.io.slides.formats.suffixes import IMAGE_SUFFIXES, TIFF_SUFFIXES

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)


def _read(path: Path) -> np.ndarray:
    image = open_image(path)
    pixels = image.read(0, Box.of_shape(image.shape))
    image.close()
    return pixels[..., 0]


@pytest.mark.parametrize(
    "name", [f"a{suffix}" for suffix in TIFF_SUFFIXES if suffix != ".ndpi"] + ["a.QPTIFF", "a.TF2"]
)
def test_every_suffix_of_tiff(tmp_path: Path, name: str) -> None:
    tifffile.imwrite(tmp_path / name, PIXELS)
    assert np.array_equal(_read(tmp_path / name), PIXELS)
    assert images_below(tmp_path) == {"a": tmp_path / name}


@pytest.mark.parametrize("name", ["d41d8cd98f00b204e9800998ecf8427e", "a.lsm", "dataset_1.dat"])
def test_files_of_a_store_are_known_by_their_content(tmp_path: Path, name: str) -> None:
    tifffile.imwrite(tmp_path / name, PIXELS)
    assert np.array_equal(_read(tmp_path / name), PIXELS)
    Image.fromarray(PIXELS).save(tmp_path / name, "PNG")
    assert np.array_equal(_read(tmp_path / name), PIXELS)


def test_what_is_no_image_by_name_or_content(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "file.zarr").write_text("text")
    (tmp_path / "folder").mkdir()
    for name, what in (
        ("a.txt", "unknown kind of image '.txt'; expected one of .bif .btf"),
        ("file.zarr", "is no folder; expected a zarr folder"),
        ("folder", "is a folder; expected an image, or a folder of zarr or DICOM"),
    ):
        with pytest.raises(ImageError) as raised:
            open_image(tmp_path / name)
        assert str(raised.value).startswith(f"{tmp_path / name}: {what}")
    assert all(suffix == suffix.lower() for suffix in IMAGE_SUFFIXES)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_zarr_folders_of_any_name(tmp_path: Path, version: str) -> None:
    made = write_ome_zarr(tmp_path / "a.zarr", [PIXELS[None]], version=version, mpp=None)
    inside = made.rename(tmp_path / "tissue_he")
    assert np.array_equal(_read(inside), PIXELS)
    assert images_below(tmp_path) == {"tissue_he": inside}
