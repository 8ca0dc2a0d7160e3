"""Bad files, one case a kind of failure: one clear line, exit 1, nothing half-written, or accepted.

`ROWS` is the list of the known kinds, with what is done about each and the
tests that show it; the number of a kind leads the name of its cases.
"""

import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from support import ROOT
from support.bad_files import (
    LFS,
    NOISE,
    Make,
    bare_tiff,
    content,
    cut,
    directory,
    first,
    link,
    looping_pages,
    no_utf8,
    ome_of_two_files,
    ome_xml,
    pipe,
    png,
    raster,
    tag,
    tiff,
    with_tile,
    zarr_planes,
    zarr_without,
)
from support.bad_labels import REFUSED_LABELS
from support.command_line import accepted, bounded, refusal
from support.untrained import small_network, write_untrained

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.slides.slide import open_slide, read_annotation
from nucleipel.io.slides.write_slide import write_annotation

HERE = "here"
IMPORTS = "tests/io/annotations/test_annotations.py"
ANNOTATIONS = f"{IMPORTS}::test_refused_in_one_line"
MANIFESTS = "tests/io/test_manifest.py::test_faults_are_named"
FORMATS = "tests/io/slides/test_formats.py"
LABELS = "tests/test_bad_labels.py"
REFUSED_LABEL = f"{LABELS}::test_a_label_that_is_refused"
LITTLE = f"{LABELS}::test_20_22_29_training_on_next_to_nothing_stays_finite"
ROWS: dict[int, tuple[str, ...]] = {
    1: ("truncated image: refused", HERE),
    2: ("0 bytes, a web page, a Git LFS pointer by another name: its true kind is named",
        HERE, REFUSED_LABEL, "tests/model/test_checkpoint.py::test_a_git_lfs_pointer_is_reported"),
    3: ("a tile or channel without bytes, cut, or past the end of the file: refused", HERE),
    4: ("a flipped bit in a raw TIFF: no result is continued with it", HERE),
    5: ("CMYK, 1 bit, 5 channels, complex: refused", HERE),
    6: ("transparency: laid on white", f"{FORMATS}::test_transparent_color_is_laid_on_white"),
    7: ("palette: its colors", f"{FORMATS}::test_palettes_become_their_colors"),
    8: ("16-bit RGB: kept as it is", f"{FORMATS}::test_sixteen_bit_color_keeps_its_low_byte"),
    9: ("float: refused", HERE),
    10: ("MINISWHITE: inverted", f"{FORMATS}::test_miniswhite_is_inverted"),
    11: ("planar, big-endian, BigTIFF, strips, predictors: the same pixels", HERE),
    12: ("JPEG and JPEG 2000 tiles: read; the codecs are always installed",
         f"{FORMATS}::test_pyramids_of_every_container"),
    13: ("huge strips: refused; many strips: read by strips", HERE),
    14: ("thumbnails and pyramids: level 0; a stack of planes: refused", HERE),
    15: ("EXIF or TIFF orientation: refused, since viewers disagree on it", HERE),
    16: ("a loop of pages, 4e9 px a side, what unpacks to gigabytes: refused at once", HERE,
         f"{IMPORTS}::test_what_unpacks_to_gigabytes_is_refused"),
    17: ("pipe, folder, device, link to nothing or itself: refused at once", HERE, REFUSED_LABEL,
         ANNOTATIONS, "tests/config/test_load.py::test_only_a_regular_file_is_read"),
    18: ("mpp missing, zero, of a printer, not square, in nanometers: refused", HERE,
         "tests/config/test_load.py::test_an_mpp_that_no_microscope_has_is_named", MANIFESTS),
    19: ("mpp that differ: refused, both named", HERE),
    20: ("smaller than a window, 1 px: padded, the map has the image's shape", HERE, LITTLE),
    21: ("no pixels: refused", HERE),
    22: ("a constant image: no nuclei, and training on it stays finite", HERE, LITTLE),
    23: ("a label of another shape: refused, both shapes named", REFUSED_LABEL),
    24: ("float labels: integral ones are imported, others refused", REFUSED_LABEL,
         f"{LABELS}::test_24_integral_floats_are_imported"),
    25: ("large ids: none wraps, none passes through float", REFUSED_LABEL,
         f"{LABELS}::test_25_large_ids_stay_apart"),
    26: ("gaps in ids: the same patches; numbered anew by import",
         f"{LABELS}::test_26_gaps_in_ids_change_no_nucleus",
         f"{IMPORTS}::test_round_trip"),
    27: ("an id in two pieces: one nucleus", f"{IMPORTS}::test_round_trip"),
    28: ("a mask, a map of classes, an RGB or JPEG label: refused", REFUSED_LABEL),
    29: ("an empty label: defined scores and losses",
         f"{LABELS}::test_29_an_empty_label_has_defined_scores", LITTLE),
    30: ("negative ids: refused", REFUSED_LABEL),
    31: ("XML entities: refused, never expanded", HERE, ANNOTATIONS),
    32: ("GeoJSON too deep, NaN, open, outside: refused with the feature's number", ANNOTATIONS),
    33: ("byte-order mark, CRLF, quotes: accepted",
         "tests/io/test_manifest.py::test_byte_order_mark_crlf_quotes_and_further_columns"),
    34: ("missing column, ragged row, Latin-1: refused with the line", MANIFESTS),
    35: ("a row or id twice: refused, both lines named", MANIFESTS),
    36: ("one image or source in two splits: refused", MANIFESTS),
    37: ("ids that are paths or steer a terminal: refused", HERE),
    38: ("spaces, accents, a leading dash, 240 bytes: accepted", HERE),
}  # fmt: skip


def test_every_row_has_its_test() -> None:
    assert sorted(ROWS) == list(range(1, 39))
    assert all(len(row) > 1 for row in ROWS.values())
    below = {row for row, *_ in REFUSED} | TESTED_ALONE
    assert below >= {row for row, (_, *places) in ROWS.items() if HERE in places}
    labels = {row for row, (_, *places) in ROWS.items() if REFUSED_LABEL in places}
    assert labels == {row for row, *_ in REFUSED_LABELS}
    for where in {place for _, *places in ROWS.values() for place in places} - {HERE}:
        file, name = where.split("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), where


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small networks that were never trained: of no mpp, and of 0.5 um."""
    folders = {}
    for name, mpp in (("pixels", None), ("half", 0.5)):
        folders[name] = write_untrained(
            tmp_path_factory.mktemp("checkpoints") / name,
            small_network(block_px=2),
            mpp=mpp,
            core_px=64,
        )
    return folders


SHAPE = NOISE.shape[:2]
GRAY = NOISE[..., 0]
TILED = {"photometric": "rgb", "tile": (64, 64), "metadata": None}
STRIPED = {"photometric": "rgb", "rowsperstrip": 16, "metadata": None}
FLAT = tiff("flat.tif", GRAY, resolution=(20000, 40000), resolutionunit="CENTIMETER")
TOLD = tiff("told.tif", GRAY, resolution=(20000, 20000), resolutionunit="CENTIMETER")
COARSE = tiff("coarse.tif", GRAY, resolution=(13333, 13333), resolutionunit="CENTIMETER")
ZERO_MPP = tiff("zero.ome.tif", GRAY, metadata={"PhysicalSizeX": 0.0, "PhysicalSizeY": 0.0})

REFUSED: list[tuple[int, str, Make, str, dict[str, str]]] = [
    (1, "raw tiff", cut(tiff("a.tif", NOISE, **STRIPED), 0.5),
     r"truncated: needs \d+ bytes, has \d+; copy it again", {}),
    (1, "deflated tiff", cut(tiff("a.tif", NOISE, compression="zlib", **TILED), 0.9),
     "truncated|damaged", {}),
    (1, "bigtiff", cut(tiff("a.tif", NOISE, bigtiff=True, **TILED), 0.1), "truncated", {}),
    (1, "tiff of 3 bytes", cut(tiff("a.tif", NOISE), 1e-5), "truncated", {}),
    (1, "png", cut(raster("a.png", NOISE), 0.7), "truncated at", {}),
    (1, "jpeg", cut(raster("a.jpg", NOISE), 0.7), "truncated at", {}),
    (2, "0 bytes tif", content("a.tif", b""), "is empty .0 bytes.; copy it again", {}),
    (2, "0 bytes png", content("a.png", b""), "is empty .0 bytes.", {}),
    (2, "web page", content("a.svs", b"\n<!DOCTYPE html><html>"), "is a web page", {}),
    (2, "lfs tif", content("a.tif", LFS), "is a Git LFS pointer.* run git lfs pull", {}),
    (2, "lfs png", content("a.png", LFS), "is a Git LFS pointer", {}),
    (2, "png by another name", lambda f: raster("a.png", NOISE)(f).rename(f / "a.tif"),
     "is a PNG: name it .png", {}),
    (2, "tiff by another name", lambda f: tiff("a.tif", NOISE)(f).rename(f / "a.jpg"),
     "is a TIFF: name it .tif", {}),
    (2, "text", content("notes.txt", b"hello"), "unknown kind of image '.txt'; expected one", {}),
    (3, "tile of no bytes",
     tag(tiff("a.tif", NOISE, compression="zlib", **TILED), "TileByteCounts",
         lambda v: first(v, 0)), "tile or strip 0 .* is missing", {}),
    (3, "tile past the end",
     tag(tiff("a.tif", NOISE, compression="zlib", **TILED), "TileOffsets",
         lambda v: first(v, 2**31)), r"truncated: needs \d+ bytes", {}),
    (3, "a channel in a file that is gone", ome_of_two_files,
     "a channel lies in another file, which is missing", {"--channel": "1"}),
    (5, "cmyk tiff",
     tiff("a.tif", np.dstack([NOISE, GRAY]), photometric="separated"), "CMYK; .* convert", {}),
    (5, "cmyk jpeg", raster("a.jpg", NOISE, "CMYK"), "pixel format CMYK; expected", {}),
    (5, "1-bit tiff", tiff("a.tif", GRAY > 99), "1 bit a pixel; expected", {}),
    (5, "1-bit png", raster("a.png", NOISE, "1"), "1 bit a pixel; expected", {}),
    (5, "5 channels", tiff("a.tif", np.dstack([NOISE, NOISE])[..., :5], photometric="rgb"),
     "RGB with 5 channels, of which 2 of unknown meaning", {}),
    (5, "complex", tiff("a.tif", GRAY.astype(np.complex64)), "pixels are complex64", {}),
    (5, "gray with alpha", raster("a.png", np.dstack([GRAY, GRAY]), "LA"), "transparent", {}),
    (9, "float", tiff("a.tif", GRAY.astype(np.float32)), "pixels are float32; expected uint8", {}),
    (9, "nan", tiff("a.tif", np.full((9, 9), np.nan)), "pixels are float64; expected uint8", {}),
    (9, "signed", tiff("a.tif", GRAY.astype(np.int16)), "pixels are int16; expected uint8", {}),
    (13, "one huge strip", bare_tiff("a.tif", 50000, 40000, rows=50000),
     "stored in pieces of 1.9 GiB.* convert it to a tiled TIFF", {}),
    (14, "z-stack", tiff("a.tif", np.stack([GRAY] * 4), photometric="minisblack",
                         metadata={"axes": "ZYX"}), "stack of planes.*export one plane", {}),
    (14, "z-stack ome", tiff("a.ome.tif", np.stack([GRAY] * 4), photometric="minisblack",
                             metadata={"axes": "ZYX"}), "stack of planes.*export one plane", {}),
    (14, "z-stack zarr", zarr_planes("a.zarr"), "3 planes along axis 'z'; export one plane", {}),
    (16, "4e9 px a side, one strip", bare_tiff("a.tif", 4 * 10**9, 4 * 10**9, rows=4 * 10**9,
                                               holds=2000), "stored in pieces|damaged", {}),
    (16, "4e9 px a side, tiles",
     tag(tag(tiff("a.tif", NOISE, **TILED), "ImageWidth", lambda v: 4 * 10**9), "ImageLength",
         lambda v: 4 * 10**9), r"has 25 of \d+ tiles", {}),
    (16, "pages in a loop", looping_pages, "its pages lead round in a loop", {}),
    (16, "a page that follows itself", bare_tiff("a.tif", 20, 20, rows=20, loop=True),
     "its pages lead round in a loop", {}),
    (16, "png bomb", png("a.png", 60000, 60000), "cannot be read by region", {}),
    (16, "smaller png bomb", png("a.png", 12000, 12000), "12000 x 12000 px; .* tiled TIFF", {}),
    (17, "pipe", pipe, "no regular file", {}),
    (17, "folder", directory("a.png"), "is a folder; expected an image", {}),
    (17, "device", link("a.png", "/dev/zero"), "no regular file", {}),
    (17, "link to nothing", link("a.png", "gone.png"), "a link that leads to no file", {}),
    (17, "link to itself", link("a.png", "a.png"), "links|no file", {}),
    (17, "a file for a folder", content("a.zarr", b"x"), "expected a zarr folder", {}),
    (17, "zarr without sense", zarr_without("a.zarr"), "cannot be read as OME-Zarr", {}),
    (18, "missing", raster("a.png", NOISE), "its mpp is in neither file nor manifest.*--mpp",
     {"--checkpoint": "half"}),
    (18, "zero", ZERO_MPP, "OME-XML says 0.0, no pixel size.*--mpp",
     {"--checkpoint": "half"}),
    (18, "72 dpi", tiff("a.tif", GRAY, resolution=(72, 72), resolutionunit="INCH"),
     "its mpp is in neither file nor manifest.*--mpp", {"--checkpoint": "half"}),
    (18, "not square", FLAT, r"0\.25 x 0\.5 um .* are not square", {"--checkpoint": "half"}),
    (19, "user against file", TOLD, r"--mpp says 0\.4 um.*resolution tags say 0\.5;",
     {"--mpp": "0.4"}),
    (19, "coarser than the model", COARSE, r"the working mpp is 0\.5: .* --enlarge",
     {"--checkpoint": "half"}),
    (19, "far coarser", TOLD, "more than 2x too coarse", {"--at-mpp": "0.2"}),
    (21, "tiff", tag(tiff("a.tif", NOISE, **STRIPED), "ImageLength", lambda v: 0),
     "no image of at least 1 x 1 px|damaged", {}),
    (21, "png", png("a.png", 0, 7), "damaged|at least 1 x 1", {}),
    (37, "up", lambda f: raster("x.png", NOISE)(f).rename(f / "...png"),
     "id '..' cannot name a folder", {}),
    (37, "line break", lambda f: raster("x.png", NOISE)(f).rename(f / "a\nb\x1b[31m.png"),
     r"a\\nb\\x1b\[31m\.png: id .* cannot name a folder", {}),
    (37, "hidden", lambda f: raster("x.png", NOISE)(f).rename(f / ".a.png"),
     "id '.a' cannot name a folder", {}),
    (37, "no UTF-8", no_utf8, "id 'caf.udce9' cannot name a folder", {}),
]  # fmt: skip
TESTED_ALONE = {4, 11, 15, 20, 22, 31, 38}


@pytest.mark.parametrize(
    ("make", "says", "options"),
    [pytest.param(*case[2:], id=f"{case[0]} {case[1]}") for case in REFUSED],
)
def test_an_image_that_is_refused(
    tmp_path: Path, checkpoints: dict[str, Path], make: Make, says: str, options: dict[str, str]
) -> None:
    path = make(tmp_path)
    arguments = {"--checkpoint": "pixels", **options}
    arguments["--checkpoint"] = str(checkpoints[arguments["--checkpoint"]])
    flat = [part for option in arguments.items() for part in option]
    out = tmp_path / "out"
    message = refusal("segment", path, "--out", out, "--device", "cpu", *flat, untouched=out)
    assert re.search(says, message), message
    assert message.startswith(str(path.parent)), message
    assert ";" in message or ":" in message.removeprefix(str(path))


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "lzw", "packbits", None])
def test_3_a_tile_of_too_few_pixels(tmp_path: Path, compression: str | None) -> None:
    path = with_tile("a.tif", NOISE[:20, :20], compression)(tmp_path)
    with open_slide(path) as slide, pytest.raises(ImageError, match=r"a\.tif: cannot decode"):
        slide.read(Box.of_shape(SHAPE))


def test_4_a_changed_image_is_not_continued_with(
    tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    path = tiff("a.tif", NOISE[:60, :60])(tmp_path)
    command = ["segment", path, "--checkpoint", checkpoints["pixels"], "--out", tmp_path / "out"]
    accepted(*command)
    before = {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()}
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    assert "holds another run (another images)" in refusal(*command)
    after = {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert after == before


def test_6_transparency_is_reported(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    layers = np.dstack([NOISE, GRAY])[:40, :40]
    path = raster("a.png", layers)(tmp_path)
    message = accepted(
        "segment", path, "--checkpoint", checkpoints["pixels"], "--out", tmp_path / "out"
    )
    assert "RGB with alpha, laid on white" in message


def test_11_the_same_pixels_however_they_are_stored(tmp_path: Path) -> None:
    for index, options in enumerate([
        {"planarconfig": "separate"},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"rowsperstrip": 7},
        {"tile": (32, 48)},
        {"compression": "lzw", "predictor": True},
        {"compression": "zlib", "predictor": True, "tile": (64, 64), "byteorder": ">"},
        {"compression": "zlib", "planarconfig": "separate", "tile": (64, 64)},
        {"compression": "packbits"},
        {"compression": "zstd"},
    ]):  # fmt: skip
        separate = options.get("planarconfig") == "separate"
        pixels = np.moveaxis(NOISE, -1, 0) if separate else NOISE
        path = tiff(f"{index}.tif", pixels, photometric="rgb", **options)(tmp_path)
        box = Box(13, 20, 131, 277)
        with open_slide(path) as slide:
            assert (slide.shape, slide.dtype) == (SHAPE, np.uint8), options
            assert np.array_equal(slide.read(box), NOISE[box.slices]), options


def test_13_many_strips_are_read_by_strips(tmp_path: Path) -> None:
    """400 MB on paper, of which a region of 300 rows is read."""
    path = bare_tiff("a.tif", 20000, 20000, rows=16)(tmp_path)
    with path.open("r+b") as stream:
        stream.seek(8 + 2 + 8 * 12 + 4 + 8 * 1250 + 19000 * 20000 + 123)
        stream.write(b"\x07")
    with bounded(), open_slide(path) as slide:
        pixels = slide.read(Box(18900, 100, 19200, 200))
    assert np.argwhere(pixels[..., 0]).tolist() == [[100, 23]]
    assert pixels.max() == 7


def test_14_level_0_of_the_first_series_is_the_image(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(NOISE, photometric="rgb", tile=(64, 64), subifds=1, metadata=None)
        writer.write(NOISE[::2, ::2], photometric="rgb", tile=(64, 64), subfiletype=1)
        writer.write(NOISE[:40, :50], photometric="rgb", metadata=None)
    with open_slide(path) as slide:
        assert [level.shape for level in slide.image.levels] == [SHAPE, (150, 160)]
        assert np.array_equal(slide.read(Box.of_shape(SHAPE)), NOISE)


@pytest.mark.parametrize("turn", [1, 2, 3, 4, 6, 8])
def test_15_orientation_is_refused(tmp_path: Path, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(NOISE).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(NOISE).save(tmp_path / "a.jpg", exif=exif)
    tifffile.imwrite(tmp_path / "a.tif", NOISE, photometric="rgb",
                     extratags=[(274, "H", 1, turn, True)])  # fmt: skip
    for name in ("a.png", "a.jpg", "a.tif"):
        if turn == 1:
            open_slide(tmp_path / name).close()
            continue
        with pytest.raises(ImageError, match=rf"{name}: its .*orientation.* \({turn}\) says"):
            open_slide(tmp_path / name)


def test_16_a_tile_that_unpacks_to_megabytes(tmp_path: Path) -> None:
    path = with_tile("a.tif", zlib.compress(bytes(2**27), 1), "zlib")(tmp_path)
    unreadable = pytest.raises(ImageError, match=r"a\.tif: cannot decode")
    with bounded(2**26), open_slide(path) as slide, unreadable:
        slide.read(Box.of_shape(SHAPE))


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (7, 3), (63, 65)])
def test_20_small_images(
    tmp_path: Path, checkpoints: dict[str, Path], shape: tuple[int, int]
) -> None:
    path = raster("a.png", NOISE[: shape[0], : shape[1]])(tmp_path)
    out = tmp_path / "out"
    accepted("segment", path, "--checkpoint", checkpoints["pixels"], "--out", out)
    assert tifffile.imread(out / "a" / "instances.ome.tif").shape == shape


@pytest.mark.parametrize("value", [0, 90, 255])
def test_22_a_constant_image_has_no_nuclei(tmp_path: Path, value: int) -> None:
    path = raster("a.png", np.full((70, 80, 3), value, np.uint8))(tmp_path)
    accepted("segment", path, "--out", tmp_path / "out", "--device", "cpu")
    assert not tifffile.imread(tmp_path / "out" / "a" / "instances.ome.tif").any()


def test_31_entities_of_ome_xml_are_not_expanded(tmp_path: Path) -> None:
    """Ten to the tenth letters, and a file of the machine, as the name of a channel."""
    tens = [f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9)]
    for what in ("".join(['<!ENTITY e0 "0123456789">', *tens]),
                 '<!ENTITY e9 SYSTEM "file:///etc/hostname">'):  # fmt: skip
        xml = f"<?xml version='1.0'?><!DOCTYPE OME [{what}]>" + ome_xml(names=("&e9;",))
        path = tiff("a.ome.tif", GRAY, description=xml, metadata=None)(tmp_path)
        with bounded(2**28):
            message = accepted("info", path)
        assert "OME-TIFF" in message
        assert len(message) < 1000
        assert Path("/etc/hostname").read_text().strip() not in message.replace(str(tmp_path), "")


LONG = "é" * 118


@pytest.mark.parametrize("name", ["a b", "Präparat Δ 核", "-a", "a.b,c'd", LONG], ids=ascii)
def test_38_names_of_all_kinds(tmp_path: Path, checkpoints: dict[str, Path], name: str) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    path = tmp_path / "images" / f"{name}.png"
    raster("x.png", NOISE[:40, :50])(tmp_path).rename(path)
    write_annotation(tmp_path / "labels" / f"{name}.tif", np.eye(40, 50, dtype=np.uint16))
    out = tmp_path / "out"
    accepted("segment", "--checkpoint", checkpoints["pixels"], "--out", out, "--", path)
    assert (out / name / "instances.ome.tif").is_file()
    accepted("import", "labels", tmp_path, "--out", tmp_path / "imported")
    assert read_annotation(tmp_path / "imported" / "labels" / f"{name}.tif").sum() == 40


def test_38_a_name_that_is_too_long_is_reported(
    tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    path = tmp_path / f"{'a' * 243}.png"
    raster("x.png", NOISE[:40, :50])(tmp_path).rename(path)
    out = tmp_path / "out"
    message = refusal("segment", path, "--checkpoint", checkpoints["pixels"], "--out", out)
    assert "cannot name a folder" in message
    assert "at most 240 bytes" in message
