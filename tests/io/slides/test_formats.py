"""Each container gives its own pixels, levels, channels and mpp, or one clear line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from support.slide_files import halves, write_ndpi, write_ome, write_ome_zarr, write_svs

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.slides.formats import StoredImage, open_image
from nucleipel.io.slides.formats.stored_image import downsample_of, on_white
from nucleipel.io.slides.slide import open_slide

BOX = Box(13, 20, 131, 177)
Make = Callable[[Path, list[np.ndarray]], Path]


def _smooth(channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    """(201, 301, C) soft waves, which JPEG keeps within a few gray levels."""
    y, x = np.mgrid[:201, :301]
    waves = [np.sin(y / (9 + c)) + np.cos(x / (13 - 2 * c)) for c in range(channels)]
    top = np.iinfo(dtype).max
    return ((np.stack(waves, axis=-1) + 2) / 4 * 0.8 * top).astype(dtype)


CONTAINERS: dict[str, tuple[Make, str, float, int]] = {
    "a.svs": (
        lambda p, s: write_svs(p, s, mpp=0.25, compression="jpeg", compressionargs={"level": 95}),
        "Aperio SVS, JPEG", 0.25, 12),
    "j2k.svs": (
        lambda p, s: write_svs(p, s, mpp=0.25, compression="aperio_jp2000_rgb"),
        "Aperio SVS, APERIO_JP2000_RGB", 0.25, 0),
    "a.ndpi": (lambda p, s: write_ndpi(p, s, mpp=0.25), "Hamamatsu NDPI, JPEG", 0.25, 12),
    "a.ome.tif": (
        lambda p, s: write_ome(p, s, axes="YXS", mpp=0.25, compression="zlib", predictor=True),
        "OME-TIFF, ADOBE_DEFLATE", 0.25, 0),
    "big.ome.tif": (
        lambda p, s: write_ome(p, s, axes="YXS", mpp=0.25, bigtiff=True),
        r"OME-TIFF \(BigTIFF\)", 0.25, 0),
    "v04.ome.zarr": (
        lambda p, s: write_ome_zarr(p, _planes(s), version="0.4", mpp=0.25),
        "OME-Zarr 0.4", 0.25, 0),
    "v05.ome.zarr": (
        lambda p, s: write_ome_zarr(p, _planes(s), version="0.5", mpp=0.25),
        "OME-Zarr 0.5", 0.25, 0),
}  # fmt: skip


def _planes(levels: list[np.ndarray]) -> list[np.ndarray]:
    return [np.moveaxis(level, -1, 0) for level in levels]


@pytest.mark.parametrize("name", CONTAINERS)
def test_pyramids_of_every_container(tmp_path: Path, name: str) -> None:
    make, container, mpp, tolerance = CONTAINERS[name]
    levels = halves(_smooth(), 3)
    image = open_image(make(tmp_path / name, levels))
    assert image.container.startswith(container.replace("\\", ""))
    assert image.is_color
    assert [level.shape for level in image.levels] == [(201, 301), (100, 150), (50, 75)]
    assert [level.downsample for level in image.levels] == [1, 2, 4]
    assert image.pixel_sizes.known[0].x == pytest.approx(mpp, rel=1e-5)
    for index, pixels in enumerate(levels):
        box = Box(*(side >> index for side in (BOX.y0, BOX.x0, BOX.y1, BOX.x1)))
        error = np.abs(image.read(index, box).astype(int) - pixels[box.slices])
        assert error.max() <= tolerance, (index, error.max())
    image.close()


def test_generic_pyramids_and_strips(tmp_path: Path) -> None:
    levels = halves(_smooth(), 3)
    with tifffile.TiffWriter(tmp_path / "tiled.tif") as tiff:
        for level in levels:
            tiff.write(level, photometric="rgb", tile=(64, 64), metadata=None, subfiletype=1)
    options = {"photometric": "rgb", "byteorder": ">", "compression": "lzw", "predictor": True}
    tifffile.imwrite(tmp_path / "striped.tif", levels[0], rowsperstrip=7, **options)
    image = open_image(tmp_path / "tiled.tif")
    assert len(image.levels) == 3
    assert np.array_equal(image.read(2, Box(0, 0, 50, 75)), levels[2])
    image.close()
    with open_slide(tmp_path / "striped.tif") as slide:
        assert np.array_equal(slide.read(BOX), levels[0][BOX.slices])


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("rows", [None, 7])
def test_large_strips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str | None, rows: int | None
) -> None:
    """What is too large to be decoded whole has the same pixels, whatever the byte order."""
    monkeypatch.setattr("nucleipel.io.slides.formats.tiff_svs_ndpi.WHOLE_LEVEL_BYTES", 1000)
    for dtype in (np.uint8, np.uint16):
        pixels = _smooth(dtype=dtype)
        for order in "<>":
            tifffile.imwrite(
                tmp_path / "striped.tif",
                pixels,
                photometric="rgb",
                byteorder=order,
                compression=compression,
                rowsperstrip=rows,
            )
            with open_slide(tmp_path / "striped.tif") as slide:
                found = slide.read(BOX)
            assert found.dtype == pixels.dtype
            assert np.array_equal(found, pixels[BOX.slices])


def test_channels_by_index_and_by_name(tmp_path: Path) -> None:
    pixels = _smooth(channels=4, dtype=np.uint16)
    names = ["DAPI", "CD3", "CD8", "a < b & c"]
    write_ome(tmp_path / "a.ome.tif", _planes([pixels]), axes="CYX", names=names)
    write_ome_zarr(tmp_path / "a.zarr", _planes([pixels]), version="0.5", mpp=None, names=names)
    for name in ("a.ome.tif", "a.zarr"):
        for channel, index in ((2, 2), ("CD3", 1), ("dapi", 0), ("a < b & c", 3)):
            with open_slide(tmp_path / name, channel=channel) as slide:
                assert (slide.channels, slide.dtype) == (1, np.uint16)
                wanted = pixels[(*BOX.slices, slice(index, index + 1))]
                assert np.array_equal(slide.read(BOX), wanted), (name, channel)
        with pytest.raises(ImageError, match=r"no channel 'CD4'; it has 0 \(DAPI\), 1 \(CD3\)"):
            open_slide(tmp_path / name, channel="CD4")
        with pytest.raises(ImageError, match="no channel '4'"):
            open_slide(tmp_path / name, channel=4)


def test_fluorescence_stored_as_rgb(tmp_path: Path) -> None:
    pixels = _smooth()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png", channel="blue") as slide:
        assert np.array_equal(slide.read(BOX), pixels[BOX.slices][..., 2:])


def test_sixteen_bit_color_keeps_its_low_byte(tmp_path: Path) -> None:
    import imagecodecs

    pixels = np.random.default_rng(0).integers(0, 2**16, (40, 50, 3), np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", byteorder=">")
    for name in ("a.png", "a.tif"):
        with open_slide(tmp_path / name) as slide:
            assert np.array_equal(slide.read(Box(0, 0, 40, 50)), pixels), name


def test_palettes_become_their_colors(tmp_path: Path) -> None:
    table = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)
    index = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = Image.fromarray(index, mode="L")
    picture = picture.convert("P")
    picture.putpalette(table.tobytes())
    picture.save(tmp_path / "a.png")
    tifffile.imwrite(
        tmp_path / "a.tif", index, photometric="palette", colormap=table.T.astype(np.uint16) * 257
    )
    for name in ("a.png", "a.tif"):
        with open_slide(tmp_path / name) as slide:
            assert slide.channels == 3
            assert np.array_equal(slide.read(Box(0, 0, 16, 16)), table[index]), name


def test_miniswhite_is_inverted(tmp_path: Path) -> None:
    pixels = _smooth(channels=1)[..., 0]
    tifffile.imwrite(tmp_path / "a.tif", 255 - pixels, photometric="miniswhite")
    with open_slide(tmp_path / "a.tif") as slide:
        assert np.array_equal(slide.read(BOX)[..., 0], pixels[BOX.slices])


def test_transparent_color_is_laid_on_white(tmp_path: Path) -> None:
    color = _smooth()
    alpha = np.full((*color.shape[:2], 1), 255, np.uint8)
    alpha[:50] = 0
    alpha[50:100] = 51
    layers = np.concatenate([color, alpha], axis=-1)
    Image.fromarray(layers).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", layers, photometric="rgb", extrasamples=["unassalpha"])
    for name in ("a.png", "a.tif"):
        with open_slide(tmp_path / name) as slide:
            shown = slide.read(Box.of_shape(slide.shape))
        assert (shown[:50] == 255).all(), name
        assert np.array_equal(shown[100:], color[100:]), name
        wanted = color[50:100] * 0.2 + 255 * 0.8
        assert np.abs(shown[50:100] - wanted).max() <= 0.5, name


def test_premultiplied_alpha() -> None:
    half = np.full((1, 1, 3), 100, np.uint8)
    assert on_white(half, np.full((1, 1, 1), 200, np.uint8), premultiplied=True).max() == 155


def test_aperio_ycbcr_is_converted(tmp_path: Path) -> None:
    color = _smooth()
    ycbcr = np.asarray(Image.fromarray(color).convert("YCbCr"))
    write_svs(
        tmp_path / "a.svs", [ycbcr], mpp=0.25,
        compression="aperio_jp2000_ycbc", compressionargs={"mct": False, "reversible": True},
    )  # fmt: skip
    with open_slide(tmp_path / "a.svs") as slide:
        error = np.abs(slide.read(BOX).astype(int) - color[BOX.slices])
    assert error.max() <= 3


def test_levels_that_were_rounded_in_any_way() -> None:
    assert downsample_of((1783, 2221), (3567, 4443)) == 2
    assert downsample_of((1784, 2222), (3567, 4443)) == 2
    assert downsample_of((223, 278), (3567, 4443)) == 16
    assert downsample_of((100, 100), (150, 150)) == pytest.approx(1.5)


def test_mpp_of_every_source(tmp_path: Path) -> None:
    pixels = np.zeros((20, 20), np.uint8)
    cases = {
        "cm.tif": ({"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}, 0.5),
        "inch.tif": ({"resolution": (50800, 50800), "resolutionunit": "INCH"}, 0.5),
        "printer.tif": ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        "screen.tif": ({"resolution": (28.35, 28.35), "resolutionunit": "CENTIMETER"}, None),
        "zero.tif": ({"resolution": (0, 0), "resolutionunit": "CENTIMETER"}, None),
        "imagej.tif": ({"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um"}}, 0.5),
    }
    for name, (options, mpp) in cases.items():
        tifffile.imwrite(tmp_path / name, pixels, **options)  # type: ignore[arg-type]
        with open_slide(tmp_path / name) as slide:
            assert slide.mpp == (pytest.approx(mpp) if mpp else None), name


def test_sources_of_mpp_that_disagree_are_named(tmp_path: Path) -> None:
    tagged = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    write_ome(tmp_path / "a.ome.tif", [_smooth()], axes="YXS", mpp=0.25, **tagged)
    with pytest.raises(ImageError, match=r"OME-XML says 0\.25 .*, resolution tags say 0\.5;"):
        open_slide(tmp_path / "a.ome.tif")
    tifffile.imwrite(
        tmp_path / "flat.tif", _smooth(), resolution=(20000, 40000), resolutionunit="CENTIMETER"
    )
    with pytest.raises(ImageError, match=r"0\.25 x 0\.5 um .* are not square"):
        open_slide(tmp_path / "flat.tif")


def test_a_zarr_folder_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ImageError, match=r"empty\.zarr: cannot be read as OME-Zarr"):
        open_image(tmp_path / "empty.zarr")
    with pytest.raises(ImageError, match=r"gone\.zarr: no such file"):
        open_image(tmp_path / "gone.zarr")


def test_real_slides(real_data: Path) -> None:
    found: dict[str, StoredImage] = {}
    for path in sorted((real_data / "slides").iterdir()):
        if path.suffix != ".md":
            found[path.name] = open_image(path)
    svs, ome = found["CMU-1-Small-Region.svs"], found["OS-2-vsi.ome.tif"]
    tcga = found["tcga-cr-7395-01a-01-ts1.svs"]
    assert [str(mpp) for mpp in svs.pixel_sizes.known] == ["0.499"]
    assert [mpp.where for mpp in ome.pixel_sizes.known] == ["OME-XML", "resolution tags"]
    assert not tcga.pixel_sizes.known
    ndpi = found["test3-TRITC.ndpi"]
    assert [mpp.x for mpp in ndpi.pixel_sizes.known] == [pytest.approx(0.2282, abs=1e-4)]
    assert [level.shape for level in ndpi.levels] == [
        (4864 // step, 3968 // step) for step in (1, 2, 4, 8)
    ]
    assert [series.aside for series in ndpi.series] == ["", "a macro", "a picture of the slide"]
    box = Box(2000, 1800, 2256, 2056)
    first = ndpi.read(0, box).reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))
    second = ndpi.read(1, Box(*(side // 2 for side in (box.y0, box.x0, box.y1, box.x1))))
    assert np.abs(first - second).mean() < 2
    assert [level.downsample for level in tcga.levels] == [1, 2]
    first = tcga.read(0, Box(1000, 1000, 1200, 1200)).reshape(100, 2, 100, 2, 3).mean(axis=(1, 3))
    second, beside = (tcga.read(1, Box(500, x, 600, x + 100)) for x in (500, 501))
    assert np.abs(first - second).mean() < np.abs(first - beside).mean() / 2
    for image in found.values():
        image.close()
