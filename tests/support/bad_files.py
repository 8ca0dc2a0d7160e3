"""Files that cannot, or can just barely, be used.

Each maker writes one file into a folder and returns its path.
"""

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

Make = Callable[[Path], Path]
NOISE = np.random.default_rng(0).integers(0, 256, (300, 320, 3), np.uint8)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def content(name: str, data: bytes) -> Make:
    """A file that holds these bytes."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def tiff(name: str, pixels: np.ndarray, **options: Any) -> Make:
    """What tifffile makes of an array."""

    def make(folder: Path) -> Path:
        tifffile.imwrite(folder / name, pixels, **options)
        return folder / name

    return make


def raster(name: str, pixels: np.ndarray, mode: str | None = None, **options: Any) -> Make:
    """What Pillow makes of an array, converted to `mode`."""

    def make(folder: Path) -> Path:
        picture = Image.fromarray(pixels)
        (picture.convert(mode) if mode else picture).save(folder / name, **options)
        return folder / name

    return make


def cut(whole: Make, share: float) -> Make:
    """Only the first part of a file."""

    def make(folder: Path) -> Path:
        path = whole(folder)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        return path

    return make


def tag(whole: Make, name: str, change: Callable[[Any], Any], *, page: int = 0) -> Make:
    """A TIFF with one tag overwritten."""

    def make(folder: Path) -> Path:
        path = whole(folder)
        with tifffile.TiffFile(path, mode="r+") as opened:
            found = opened.pages[page].tags[name]
            found.overwrite(change(found.value))
        return path

    return make


def with_tile(name: str, held: np.ndarray | bytes, compression: str | None) -> Make:
    """A TIFF of 64 px tiles whose first holds other pixels, or these bytes as they are packed."""

    def make(folder: Path) -> Path:
        options = {"photometric": "rgb", "tile": (64, 64), "compression": compression}
        path = tiff(name, NOISE, **options, metadata=None)(folder)
        packed = held if isinstance(held, bytes) else _packed(folder, held, compression)
        start = path.stat().st_size
        path.write_bytes(path.read_bytes() + packed)
        with tifffile.TiffFile(path, mode="r+") as opened:
            for tag_name, new in (("TileOffsets", start), ("TileByteCounts", len(packed))):
                found = opened.pages[0].tags[tag_name]
                found.overwrite(first(found.value, new))
        return path

    return make


def _packed(folder: Path, pixels: np.ndarray, compression: str | None) -> bytes:
    """What tifffile makes of pixels as one strip."""
    path = folder / "strip.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", compression=compression, metadata=None)
    with tifffile.TiffFile(path) as opened:
        (start,), (count,) = opened.pages[0].dataoffsets, opened.pages[0].databytecounts
    return path.read_bytes()[start : start + count]


def ome_xml(*, names: tuple[str, ...], more: str = "") -> str:
    """The OME-XML of the first channel of `NOISE`, and of channels of these names."""
    channels = "".join(f'<Channel ID="Channel:0:{i}" Name="{n}"/>' for i, n in enumerate(names))
    return (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="320" SizeY="300"'
        f' SizeC="{len(names)}" SizeZ="1" SizeT="1">{channels}<TiffData FirstC="0"/>{more}'
        "</Pixels></Image></OME>"
    )


def ome_of_two_files(folder: Path) -> Path:
    """An OME-TIFF whose second channel lies in a file that was not copied with it."""
    elsewhere = '<TiffData FirstC="1"><UUID FileName="gone.ome.tif">urn:uuid:1</UUID></TiffData>'
    xml = ome_xml(names=("DAPI", "CD3"), more=elsewhere)
    return tiff("a.ome.tif", NOISE[..., 0], description=xml, metadata=None)(folder)


def no_utf8(folder: Path) -> Path:
    """An image whose name was written in Latin-1."""
    path = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    return raster("x.png", NOISE)(folder).rename(path)


def first(value: Any, new: int) -> Any:
    """A tag's value with its first number replaced."""
    return (new, *value[1:])


def bare_tiff(
    name: str, height: int, width: int, *, rows: int, holds: int | None = None, loop: bool = False
) -> Make:
    """A gray, raw TIFF by hand: strips of `rows`; a sparse file of `holds` bytes, or as it says.

    With `loop`, its directory is said to be followed by itself.
    """

    def make(folder: Path) -> Path:
        strips = -(-height // rows)
        counts = [min(rows, height - rows * index) * width for index in range(strips)]
        long, lists = 8 + 2 + 8 * 12 + 4, []
        start = long + 8 * strips
        offsets = [start + rows * width * index for index in range(strips)]
        for values in (offsets, counts):
            lists.append(struct.pack(f"<{strips}I", *(value % 2**32 for value in values)))
        tags = [
            (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
            (273, 4, strips, long if strips > 1 else offsets[0] % 2**32),
            (278, 4, 1, rows),
            (279, 4, strips, long + 4 * strips if strips > 1 else counts[0] % 2**32),
        ]  # fmt: skip
        data = b"II*\0" + struct.pack("<IH", 8, len(tags))
        data += b"".join(struct.pack("<HHII", *entry) for entry in tags)
        data += struct.pack("<I", 8 if loop else 0) + b"".join(lists)
        with (folder / name).open("wb") as stream:
            stream.write(data)
            stream.truncate(max(len(data), start + sum(counts) if holds is None else holds))
        return folder / name

    return make


def png(name: str, height: int, width: int) -> Make:
    """A PNG whose header says this size; its pixels are few."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return content(name, b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))


def looping_pages(folder: Path) -> Path:
    """A picture and a smaller page, the second said to be followed by the first."""
    path = folder / "loop.tif"
    with tifffile.TiffWriter(path) as writer:
        for side in (20, 10):
            writer.write(np.zeros((side, side), np.uint8), metadata=None)
    with tifffile.TiffFile(path) as opened:
        last, start = opened.pages[1].offset, opened.pages[0].offset
    data = bytearray(path.read_bytes())
    count = struct.unpack_from("<H", data, last)[0]
    struct.pack_into("<I", data, last + 2 + 12 * count, start)
    path.write_bytes(data)
    return path


def pipe(folder: Path) -> Path:
    """A named pipe that nobody writes to."""
    os.mkfifo(folder / "pipe.png")
    return folder / "pipe.png"


def link(name: str, target: str) -> Make:
    """A link to `target`, whatever that is."""

    def make(folder: Path) -> Path:
        (folder / name).symlink_to(target)
        return folder / name

    return make


def directory(name: str) -> Make:
    """A folder by an image's name."""

    def make(folder: Path) -> Path:
        (folder / name).mkdir()
        return folder / name

    return make


def zarr_planes(name: str) -> Make:
    """An OME-Zarr of three z-planes."""

    def make(folder: Path) -> Path:
        import zarr

        group = zarr.open_group(folder / name, mode="w", zarr_format=3)
        group.create_array("0", shape=(3, 20, 20), chunks=(1, 20, 20), dtype=np.uint8)
        axes = [{"name": axis, "type": "space"} for axis in "zyx"]
        image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": []}]}
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
        return folder / name

    return make


def zarr_without(name: str) -> Make:
    """A zarr folder whose metadata is no JSON."""

    def make(folder: Path) -> Path:
        (folder / name).mkdir()
        (folder / name / "zarr.json").write_text(json.dumps({"zarr_format": 3})[:-3])
        return folder / name

    return make
