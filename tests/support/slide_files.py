"""Small slides in the container formats of users, written by tifffile and zarr."""

import io
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from PIL import Image

APERIO = "Aperio Image Library v12.0.0\r\n100x100 (16x16) JPEG/RGB Q=90|AppMag = 40|MPP = {mpp}"
NDPI_FORMAT_FLAG, NDPI_MAGNIFICATION, NDPI_MCU_STARTS = 65420, 65421, 65426


def halves(pixels: np.ndarray, count: int) -> list[np.ndarray]:
    """A pyramid whose sides are divided by two and rounded down, each level the mean of blocks."""
    levels = [pixels]
    for _ in range(count - 1):
        h, w = (length // 2 for length in levels[-1].shape[:2])
        last = levels[-1][: 2 * h, : 2 * w].reshape(h, 2, w, 2, -1)
        mean = np.rint(last.mean(axis=(1, 3))).astype(pixels.dtype)
        levels.append(mean.reshape(h, w, *pixels.shape[2:]))
    return levels


def write_svs(path: Path, levels: list[np.ndarray], *, mpp: float | None, **options: Any) -> Path:
    """An Aperio SVS: one page a level, after the first a thumbnail, as the vendor has it."""
    text = APERIO.format(mpp=mpp) if mpp else APERIO.split("|MPP")[0]
    kept = {"photometric": "rgb", "metadata": None, "tile": (64, 64), **options}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(levels[0], description=text, **kept)
        thumbnail = np.zeros((20, 30, 3), np.uint8)
        tiff.write(thumbnail, photometric="rgb", description=text, metadata=None)
        for level in levels[1:]:
            tiff.write(level, description=text, **kept)
    return path


def write_ndpi(path: Path, levels: list[np.ndarray], *, mpp: float) -> Path:
    """A Hamamatsu NDPI: one JPEG a level, cut by restart markers, under 64-bit TIFF tags."""
    data = bytearray(b"II*\0" + bytes(8))
    where = 4  # of the pointer to the next directory
    for index, level in enumerate(levels):
        stream, starts = _restarting_jpeg(level)
        offset = len(data)
        data += stream
        first_value = len(data)
        per_cm = round(1e8 / (mpp * 2**index))
        data += struct.pack(f"<II{len(starts)}I", per_cm, 10000, *starts)
        vendor = len(data)
        data += b"Hamamatsu\0"
        height, width = level.shape[:2]
        tags = [  # code, type (2 text, 3 short, 4 long, 5 rational, 11 float), count, value
            (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 7),
            (262, 3, 1, 6), (271, 2, 10, vendor), (273, 4, 1, offset), (277, 3, 1, 3),
            (278, 4, 1, height), (279, 4, 1, len(stream)), (282, 5, 1, first_value),
            (283, 5, 1, first_value), (296, 3, 1, 3), (NDPI_FORMAT_FLAG, 4, 1, 1),
            (NDPI_MAGNIFICATION, 11, 1, struct.unpack("<I", struct.pack("<f", 40 / 2**index))[0]),
            (NDPI_MCU_STARTS, 4, len(starts), first_value + 8 if len(starts) > 1 else starts[0]),
        ]  # fmt: skip
        data[where : where + 8] = struct.pack("<Q", len(data))
        data += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        where = len(data)
        data += bytes(8) + bytes(4 * len(tags))  # no next directory; high halves of the values
    path.write_bytes(data)
    return path


def _restarting_jpeg(pixels: np.ndarray) -> tuple[bytes, list[int]]:
    """A JPEG that restarts with every row of 8 x 8 blocks, and where each row's data starts."""
    buffer = io.BytesIO()
    blocks = -(-pixels.shape[1] // 8)
    Image.fromarray(pixels).save(
        buffer, "JPEG", quality=95, subsampling=0, restart_marker_blocks=blocks
    )
    stream = buffer.getvalue()
    scan = stream.index(b"\xff\xda")
    first = scan + 2 + int.from_bytes(stream[scan + 2 : scan + 4], "big")
    marks = [m.end() for m in re.finditer(b"\xff[\xd0-\xd7]", stream[first:])]
    return stream, [first, *(first + mark for mark in marks)]


def write_ome(
    path: Path,
    levels: list[np.ndarray],
    *,
    axes: str,
    mpp: float | None = None,
    names: list[str] | None = None,
    **options: Any,
) -> Path:
    """An OME-TIFF with its pyramid in SubIFDs."""
    metadata: dict[str, Any] = {"axes": axes}
    if mpp:
        metadata |= {f"PhysicalSize{axis}": mpp for axis in "XY"}
        metadata |= {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    if names:
        metadata["Channel"] = {"Name": names}
    bigtiff = options.pop("bigtiff", False)
    kept = {"tile": (64, 64), "photometric": "rgb" if "S" in axes else "minisblack", **options}
    with tifffile.TiffWriter(path, ome=True, bigtiff=bigtiff) as tiff:
        tiff.write(levels[0], subifds=len(levels) - 1, metadata=metadata, **kept)
        for level in levels[1:]:
            tiff.write(level, subfiletype=1, **kept)
    return path


def write_ome_zarr(
    path: Path,
    levels: list[np.ndarray],
    *,
    version: str,
    mpp: float | None,
    names: list[str] | None = None,
) -> Path:
    """An OME-Zarr image, levels (C, H, W): 0.4 on zarr v2, 0.5 on zarr v3."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    datasets = []
    for index, level in enumerate(levels):
        array = group.create_array(
            str(index), shape=level.shape, chunks=(1, 64, 64), dtype=level.dtype
        )
        array[:] = level
        scale = [1.0, *[(mpp or 1.0) * 2**index] * 2]
        transform = {"type": "scale", "scale": scale}
        datasets.append({"path": str(index), "coordinateTransformations": [transform]})
    unit = {"unit": "micrometer"} if mpp else {}
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", **unit} for name in "yx"]
    image = {"axes": axes, "datasets": datasets, "name": "made"}
    attributes: dict[str, Any] = {"multiscales": [image]}
    if names:
        attributes["omero"] = {"channels": [{"label": name} for name in names]}
    if version == "0.4":
        image["version"] = version
        group.attrs.update(attributes)
    else:
        group.attrs["ome"] = {"version": version, **attributes}
    return path
