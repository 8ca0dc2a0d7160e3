"""Color that is stored as planes, bytes in the other order, and ids with a color table."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from support.foreign_files import open_group, write_ngff

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.annotations.paired import read_labels
from nucleipel.io.annotations.source import ImportOptions
from nucleipel.io.slides.slide import open_slide, read_annotation, require_channels

COLOR = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
PLANES = np.ascontiguousarray(COLOR.transpose(2, 0, 1))
IDS = np.kron(np.arange(20).reshape(4, 5), np.ones((10, 10))).astype(np.uint8)


def _read(path: Path, channel: int | str | None = None) -> np.ndarray:
    with open_slide(path, channel=channel) as slide:
        require_channels(slide, 3)
        return slide.read(Box.of_shape(slide.shape))


@pytest.mark.parametrize(
    "names",
    [("Red", "Green", "Blue"), ("r", "g", "b"), ("R", "G", "B"), ("Channel: Red", "Green", "BLUE")],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_planes_named_for_colors(tmp_path: Path, names: tuple[str, ...], dtype: Any) -> None:
    planes = PLANES.astype(dtype)
    metadata = {"axes": "CYX", "Channel": {"Name": list(names)}}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, planes, photometric="minisblack", metadata=metadata)
    write_ngff(open_group(tmp_path / "a.zarr"), planes, "cyx", labels=list(names))
    for made in (path, tmp_path / "a.zarr"):
        with open_slide(made) as slide:
            assert slide.image.is_color
        assert np.array_equal(_read(made), COLOR), made


@pytest.mark.parametrize("labels", [None, [0, 1, 2], ["Channel_0", "Channel_1", "Channel_2"]])
def test_planes_without_names_of_their_own(tmp_path: Path, labels: list[Any] | None) -> None:
    write_ngff(open_group(tmp_path / "a.zarr"), PLANES, "cyx", labels=labels)
    assert np.array_equal(_read(tmp_path / "a.zarr"), COLOR)
    write_ngff(open_group(tmp_path / "b.zarr"), PLANES.astype(np.uint16), "cyx", labels=labels)
    with pytest.raises(ImageError, match="or all three as color with --channel rgb"):
        _read(tmp_path / "b.zarr")
    assert np.array_equal(_read(tmp_path / "b.zarr", "rgb"), COLOR)


def test_dyes_are_not_taken_for_color(tmp_path: Path) -> None:
    dyes = ["DAPI", "CD3", "CD8"]
    write_ngff(open_group(tmp_path / "a.zarr"), PLANES, "cyx", labels=dyes)
    shown = ["0000FF", "FF0000", "00FF00"]
    write_ngff(open_group(tmp_path / "b.zarr"), PLANES, "cyx", labels=[0, 1, 2], colors=shown)
    for name in ("a.zarr", "b.zarr"):
        with pytest.raises(ImageError, match="has 3 channels, the network takes 3; choose one"):
            _read(tmp_path / name)


def test_channel_rgb_takes_three_by_name_in_any_order(tmp_path: Path) -> None:
    planes = np.concatenate([PLANES[::-1], PLANES[:1]])
    metadata = {"axes": "CYX", "Channel": {"Name": ["Blue", "Green", "Red", "DAPI"]}}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, planes, photometric="minisblack", metadata=metadata)
    assert np.array_equal(_read(path, "RGB"), COLOR)
    tifffile.imwrite(tmp_path / "gray.tif", PLANES[0])
    with pytest.raises(ImageError, match=r"has 1 channel\(s\); expected three, or three named"):
        _read(tmp_path / "gray.tif", "rgb")


@pytest.mark.parametrize("dtype", [">u2", "<u2"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_byte_orders_of_images(tmp_path: Path, dtype: str, zarr_format: int) -> None:
    if zarr_format == 3 and dtype == ">u2":
        _write_big_endian_v3(tmp_path / "a.zarr")
    else:
        group = open_group(tmp_path / "a.zarr", zarr_format=zarr_format)
        write_ngff(group, PLANES[:1] * np.uint16(257), "cyx", dtype=dtype)
    with open_slide(tmp_path / "a.zarr") as slide:
        assert slide.dtype == np.dtype(np.uint16)
        pixels = slide.read(Box.of_shape(slide.shape))
    assert pixels.dtype.isnative
    assert np.array_equal(pixels[..., 0], PLANES[0] * np.uint16(257))


def _write_big_endian_v3(path: Path) -> None:
    from zarr.codecs import BytesCodec

    group = open_group(path, zarr_format=3)
    write_ngff(group, PLANES[:1] * np.uint16(257), "cyx")
    del group["0"]
    array = group.create_array(
        "0", shape=(1, 40, 50), chunks=(1, 40, 50), dtype="uint16",
        serializer=BytesCodec(endian="big"),
    )  # fmt: skip
    array[...] = PLANES[:1] * np.uint16(257)


@pytest.mark.parametrize("dtype", [">i4", ">u4", ">u2", "<i8"])
def test_byte_orders_of_labels(tmp_path: Path, dtype: str) -> None:
    write_ngff(open_group(tmp_path / "a.zarr"), IDS.astype(np.int32), "yx", dtype=dtype)
    assert np.array_equal(read_annotation(tmp_path / "a.zarr"), IDS)


def _with_table(folder: Path, kind: str) -> Path:
    table = np.random.default_rng(1).integers(0, 2**16, (3, 256), np.uint16)
    path = folder / ("a_masks.png" if kind == "png" else "a_masks.tif")
    if kind == "png":
        picture = Image.fromarray(IDS, mode="L").convert("P")
        picture.putpalette((table >> 8).T.astype(np.uint8).tobytes())
        picture.save(path, transparency=0)
    elif kind == "tif":
        tifffile.imwrite(path, IDS, photometric="palette", colormap=table)
    elif kind == "16 bit":
        wide = np.random.default_rng(1).integers(0, 2**16, (3, 2**16), np.uint16)
        tifffile.imwrite(path, IDS.astype(np.uint16), photometric="palette", colormap=wide)
    else:  # Fiji's inverted table: 0 is white, the ids are as they stand
        tifffile.imwrite(path, IDS, photometric="miniswhite")
    return path


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
@pytest.mark.parametrize("kind", ["png", "tif", "16 bit", "inverted"])
def test_ids_under_a_color_table(tmp_path: Path, kind: str) -> None:
    path = _with_table(tmp_path, kind)
    assert np.array_equal(read_annotation(path), IDS)
    Image.fromarray(COLOR).save(tmp_path / "a.png")
    (source,) = read_labels(tmp_path, ImportOptions())
    assert np.array_equal(source.nuclei.instance_map > 0, IDS > 0)


def test_slices_that_imagej_names_for_colors(tmp_path: Path) -> None:
    metadata = {"axes": "CYX", "Labels": ["Red", "Green", "Blue"], "mode": "composite"}
    tifffile.imwrite(tmp_path / "a.tif", PLANES, imagej=True, metadata=metadata)
    assert np.array_equal(_read(tmp_path / "a.tif"), COLOR)
