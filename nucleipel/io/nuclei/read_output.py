"""Read what `image_output` wrote, when it is needed."""

import json
from pathlib import Path
from typing import Any

from nucleipel.errors import StoreError
from nucleipel.io.nuclei.image_output import CERTIFICATE, REPORT
from nucleipel.io.records.output import read_record

NUCLEI, CELLS = "nuclei.parquet", "cells.parquet"


def image_folder(out: Path, image_id: str) -> Path:
    """The folder of one image of a finished run.

    Raises
    ------
    StoreError
        If the run is not finished, or has no such image.
    """
    record = read_record(out, stage=("stitch", "segment"))
    if image_id not in record["images"]:
        names = ", ".join(record["images"])
        raise StoreError(f"{out}: has no image '{image_id}'; it has {names}")
    return out / image_id


def images_of(out: Path) -> list[str]:
    """The ids of the images of a finished run; errors as `image_folder`."""
    return list(read_record(out, stage=("stitch", "segment"))["images"])


def image_mpp(folder: Path) -> float | None:
    """Um per pixel of an image's files, as nuclei.parquet has it; None if nobody said it.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / NUCLEI
    try:
        about = json.loads(pq.read_metadata(path).metadata[b"nucleipel"])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read: {error}; stitch again") from error
    return None if about["mpp"] is None else float(about["mpp"])


def open_labels(folder: Path, *, of: str = "instances") -> Any:
    """The (H, W) uint32 map of nuclei or "cells", zarr; errors as `open_label_levels`."""
    return open_label_levels(folder, of=of)[0]


def open_label_levels(folder: Path, *, of: str = "instances") -> list[Any]:
    """The map of nuclei or "cells" at full size and at each coarser level, zarr arrays.

    Raises
    ------
    StoreError
        If it cannot be opened.
    """
    import zarr

    try:
        group = zarr.open_group(folder / f"{of}.zarr", mode="r")
        attributes: Any = group.attrs["ome"]
        (ome,) = attributes["multiscales"]
        return [group[level["path"]] for level in ome["datasets"]]
    except Exception as error:
        raise StoreError(f"{folder / of}.zarr: cannot be read: {error}; stitch again") from error


def images_of_output(path: Path) -> list[tuple[Path, str]]:
    """The images of an output folder, or the one whose folder it is: (output folder, id).

    Empty where `path` is neither.
    """
    for out, chosen in ((path, None), (path.parent, path.name)):
        try:
            images = images_of(out)
        except StoreError:
            continue
        return [(out, name) for name in images if chosen in (None, name)]
    return []


def read_certificate(folder: Path) -> dict[str, Any]:
    """The certificate of an image.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    try:
        return dict(json.loads(_text(folder / CERTIFICATE)))
    except ValueError as error:
        raise StoreError(f"{folder / CERTIFICATE}: no JSON: {error}; stitch again") from error


def read_report(folder: Path) -> str:
    """The HTML page of an image; errors as `read_certificate`."""
    return _text(folder / REPORT)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: cannot be read: {error}; stitch again") from error
