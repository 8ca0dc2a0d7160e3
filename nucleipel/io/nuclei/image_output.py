"""Finished nuclei of one image: instance map, table, overlay, certificate.

    OUT/<id>/instances.ome.tif   (H, W) uint32, ids 1..n; a pyramid when it is large
    OUT/<id>/instances.zarr      the same as OME-Zarr labels
    OUT/<id>/nuclei.parquet      one row a nucleus, with its outline
    OUT/<id>/nuclei.geojson      the same as QuPath's detections, plain or gzipped
    OUT/<id>/nuclei.csv          the same without outlines, if wanted
    OUT/<id>/overlay.png         contours on the image
    OUT/<id>/report.html         the report of the image, on one page
    OUT/<id>/certificate.json    what the nuclei were made of, and that no seam shaped them

The folder appears with all files in it, or not at all. Nothing here holds a
whole map or table: they are read from what was written block by block.

    OUT/.work/<id>/              what a killed run left; removed at the end
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.atomic import sync, sync_tree, write_json
from nucleipel.core.nucleus_rows import NucleusRows
from nucleipel.errors import StoreError
from nucleipel.io.nuclei.label_pyramid import LABELS, write_label_pyramid
from nucleipel.io.nuclei.table_format import TableHeader
from nucleipel.io.nuclei.tables import write_nuclei
from nucleipel.io.pictures import write_picture
from nucleipel.io.records.checksums import require_whole
from nucleipel.io.records.output import RECORD, read_record, read_written
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import read_annotation

INSTANCE_MAP, OVERLAY = "instances.ome.tif", "overlay.png"
CERTIFICATE, WORK, REPORT = "certificate.json", ".work", "report.html"
TILE_PX = 512
BIGTIFF_FROM_BYTES = 2**31


def is_written(out: Path, image_id: str) -> bool:
    """Whether the nuclei of an image are in `out`, complete."""
    return (out / image_id).is_dir()


def work_folder(out: Path, image_id: str) -> Path:
    """The folder of the intermediate results of an image."""
    return out / WORK / image_id


def create_working_map(work: Path, name: str, shape: tuple[int, int], *, chunk_px: int) -> Any:
    """A new (H, W) uint32 zarr array of zeros, to be written by blocks of `chunk_px`."""
    import zarr
    from zarr.codecs import BloscCodec, BloscShuffle

    work.mkdir(parents=True, exist_ok=True)
    return zarr.create_array(
        work / f"{name}.zarr",
        shape=shape,
        chunks=(chunk_px, chunk_px),
        dtype=np.uint32,
        compressors=[BloscCodec(cname="lz4", clevel=5, shuffle=BloscShuffle.shuffle)],
        overwrite=True,
    )


def write_instances(
    out: Path,
    image_id: str,
    *,
    instance_map: Any,
    nuclei: Iterable[NucleusRows],
    overlay: npt.NDArray[np.uint8],
    certificate: dict[str, Any],
    frame: Resolution,
    tables: Sequence[str] = ("parquet",),
    build_report: Callable[[], str] | None = None,
) -> int:
    """Write the files of one image, and remove its intermediate results.

    `instance_map` (H, W) uint32, NumPy, zarr or what is indexed like them, is
    read by parts; `frame` is its own. `nuclei` come in order of ids, some rows at
    a time. `overlay` is (h, w, 3) uint8, `certificate` plain JSON types.
    `build_report` gives the HTML page; it is called after all `nuclei` are written.
    Returns the number of nuclei.
    """
    work = work_folder(out, image_id)
    partial = out / f".{image_id}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    unique = _uuid(certificate)
    levels = write_label_pyramid(partial / LABELS, instance_map, name=image_id, world=frame.world())
    _write_map(partial / INSTANCE_MAP, levels, unique=unique, mpp=frame.mpp)
    about = {
        "image": image_id,
        "shape_px": list(instance_map.shape),
        "mpp": frame.mpp,
        "series": frame.source.series,
        "offset_px": list(frame.source.offset_px),
    }
    count = write_nuclei(partial, nuclei, TableHeader(about, unique), tables=tables)
    write_picture(partial / OVERLAY, overlay)
    write_json(partial / CERTIFICATE, certificate)
    if build_report is not None:
        (partial / REPORT).write_text(build_report(), encoding="utf-8", newline="\n")
    sync_tree(partial)
    partial.rename(out / image_id)
    sync(out)
    shutil.rmtree(work, ignore_errors=True)
    with suppress(OSError):  # another image is at work there
        work.parent.rmdir()
    return count


def missing_images(out: Path) -> tuple[str, ...]:
    """Ids of the images that an output was completed without."""
    if not (out / RECORD).is_file():
        return ()
    return tuple(read_record(out, stage=("stitch", "segment")).get("missing", ()))


def read_instance_map(out: Path, image_id: str) -> npt.NDArray[np.uint32]:
    """The (H, W) uint32 instance map of an image; errors as `instance_map_file`.

    Raises
    ------
    ImageError
        If the map cannot be read, or holds anything but ids.
    """
    return np.asarray(read_annotation(instance_map_file(out, image_id)), np.uint32)


def instance_map_file(out: Path, image_id: str) -> Path:
    """The file of an image's instance map, ours or another tool's in the same layout.

    That is instances.ome.tif or, where it was taken away, instances.zarr.

    Raises
    ------
    StoreError
        If `out` belongs to an unfinished run, has no map of that image, or
        one that is not what was written.
    """
    path, labels = (out / image_id / name for name in (INSTANCE_MAP, LABELS))
    if not path.is_file() and not labels.is_dir():
        raise StoreError(f"{path}: no such file; expected the instances of image '{image_id}'")
    if (out / RECORD).is_file():
        record = read_record(out, stage=("stitch", "segment"))
        written = read_written(out, record)
        own = f"{image_id}/{LABELS}/"
        names = [name for name in written if name.startswith(own)]  # zarr reads a gap as zeros
        for name in [f"{image_id}/{INSTANCE_MAP}"] if path.is_file() else names:
            require_whole(out, name, written, again=record["stage"])
    return path if path.is_file() else labels


def _uuid(certificate: dict[str, Any]) -> uuid.UUID:
    """For the same nuclei the same: a random one is what tifffile would invent."""
    made_of = {key: value for key, value in certificate.items() if key != "cut"}
    content = json.dumps(made_of, sort_keys=True).encode()
    return uuid.UUID(bytes=hashlib.sha256(content).digest()[:16])


def _write_map(path: Path, levels: list[Any], *, unique: uuid.UUID, mpp: float | None) -> None:
    """Write the levels of a map, each (H, W) uint32 and read by parts, as a pyramid."""
    import tifffile

    metadata: dict[str, object] = {"axes": "YX", "Name": "instances", "UUID": f"urn:uuid:{unique}"}
    resolution: dict[str, object] = {}
    if mpp is not None:
        metadata |= {"PhysicalSizeX": mpp, "PhysicalSizeXUnit": "µm"}
        metadata |= {"PhysicalSizeY": mpp, "PhysicalSizeYUnit": "µm"}
        resolution = {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    options = {
        "dtype": np.uint32,
        "tile": (TILE_PX, TILE_PX),
        "compression": "zlib",
        "predictor": True,
        "maxworkers": 1,
    }
    size = sum(4 * level.shape[0] * level.shape[1] for level in levels)
    with tifffile.TiffWriter(path, ome=True, bigtiff=size > BIGTIFF_FROM_BYTES) as writer:
        for index, level in enumerate(levels):
            more = {"subfiletype": 1} if index else {"subifds": len(levels) - 1, **resolution}
            writer.write(
                _tiles(level),
                shape=level.shape,
                metadata=None if index else metadata,
                **options,
                **more,
            )


def _tiles(level: Any) -> Iterator[npt.NDArray[np.uint32]]:
    """The tiles of a level in raster order, filled up with zeros to their full size."""
    height, width = level.shape
    for y in range(0, height, TILE_PX):
        for x in range(0, width, TILE_PX):
            part = np.asarray(level[y : y + TILE_PX, x : x + TILE_PX])
            missing = [(0, TILE_PX - length) for length in part.shape]
            yield np.pad(part, missing)
