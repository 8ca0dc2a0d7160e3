"""Finished nuclei of one image: instance map, table, overlay, certificate.

    OUT/<id>/instances.ome.tif   (H, W) uint32, ids 1..n; a pyramid when it is large
    OUT/<id>/instances.zarr      the same as OME-Zarr labels
    OUT/<id>/nuclei.parquet      one row a nucleus, with its outline
    OUT/<id>/nuclei.geojson      the same as QuPath's detections, plain or gzipped
    OUT/<id>/nuclei.csv          the same without outlines, if wanted
    OUT/<id>/cells.*             cells around nuclei in the same formats, if wanted
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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.atomic import sync, sync_tree, write_json
from nucleipel.core.choices import GeoJsonKind
from nucleipel.core.measured_nuclei import MeasuredNuclei
from nucleipel.core.scratch import Scratch
from nucleipel.errors import StoreError
from nucleipel.io.nuclei.drawn_map import INSTANCE_MAP, DrawnMap
from nucleipel.io.nuclei.label_pyramid import LABELS
from nucleipel.io.nuclei.table_format import TableHeader
from nucleipel.io.nuclei.write_tables import encode_tables, open_tables
from nucleipel.io.pictures import write_picture
from nucleipel.io.records.checksums import require_whole
from nucleipel.io.records.output import RECORD, read_record, read_written
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import read_annotation

OVERLAY, CERTIFICATE, WORK, REPORT = "overlay.png", "certificate.json", ".work", "report.html"
ROWS = "parquet"
"""The format that nothing of the table is lost in."""


def is_written(out: Path, image_id: str) -> bool:
    """Return whether the nuclei of an image are in `out`, complete."""
    return (out / image_id).is_dir()


def work_folder(out: Path, image_id: str) -> Path:
    """The folder of the intermediate results of an image."""
    return out / WORK / image_id


class MapFiles:
    """The map and the tables of an image's nuclei, or of the cells around them, made in parts.

    Several processes may make them; each part is done once it is in the scratch.

    Parameters
    ----------
    folder : Path
        Where the files are made.
    image_id : str
    scratch : Scratch
        Where parts wait.
    shape : (height, width)
        Of the map.
    frame : Resolution
        Of the map.
    header : TableHeader
        Of the tables, without what is known of the map: see `build_header`.
    tables : sequence of str
        Their formats.
    of : {"nuclei", "cells"}
        What they are of.
    """

    def __init__(
        self,
        folder: Path,
        image_id: str,
        scratch: Scratch,
        *,
        shape: tuple[int, int],
        frame: Resolution,
        header: TableHeader,
        tables: Sequence[str] = (ROWS,),
        of: str = "nuclei",
    ) -> None:
        self._folder, self._scratch, self._of = folder, scratch, of
        self._header, self._tables = header, tuple(tables)
        kind = "instances" if of == "nuclei" else of
        self.map = DrawnMap(folder, scratch, shape, name=image_id, frame=frame, kind=kind)

    def has_rows(self, part: int) -> bool:
        """Return whether `put_rows` has kept a part."""
        return f"{self._of}-{part}" in self._scratch

    def put_rows(self, part: int, rows: Iterable[MeasuredNuclei], **more: npt.NDArray[Any]) -> None:
        """Encode and keep a part of the table; parts follow each other in order of ids.

        `more` is kept with it. The first part has `rows`, if only to name columns.
        """
        encoded = [encode_tables(some, self._header, self._formats) for some in rows]
        arrays: dict[str, npt.NDArray[Any]] = {}
        for name in self._formats:
            pieces = [some[name] for some in encoded]
            arrays[name] = np.frombuffer(b"".join(pieces), np.uint8)
            arrays[f"{name} sizes"] = np.array([len(piece) for piece in pieces], np.int64)
        self._scratch.put(f"{self._of}-{part}", {**arrays, **more})

    def rows(self, parts: Iterable[int]) -> Iterator[dict[str, bytes]]:
        """Read the kept rows of some parts, by format."""
        for part in parts:
            kept = self._scratch.get(f"{self._of}-{part}")
            pieces = {name: _cut(kept[name], kept[f"{name} sizes"]) for name in self._formats}
            for index in range(len(pieces[ROWS])):
                yield {name: pieces[name][index] for name in self._formats}

    def write(self, rows: Iterable[Mapping[str, bytes]]) -> None:
        """Put the files together; `rows` are those of all parts."""
        self.map.finish(self._header.unique)
        with open_tables(self._folder, self._header, self._tables, of=self._of) as write:
            for some in rows:
                write(some)

    @property
    def _formats(self) -> tuple[str, ...]:
        return (ROWS, *(name for name in self._tables if name != ROWS))


class ImageOutput:
    """The files of one image, made in parts by several processes at will.

    Each part is done once it is in the scratch. `finish` puts them together;
    then the folder of the image appears.

    Parameters
    ----------
    out : Path
        The output of the stage.
    image_id, scratch, shape, frame, header, tables
        As of `MapFiles`.
    cells_um : float, optional
        How far cells reach beyond nuclei; without it there are none.

    Attributes
    ----------
    nuclei : MapFiles
    cells : MapFiles or None
    """

    def __init__(
        self,
        out: Path,
        image_id: str,
        scratch: Scratch,
        *,
        shape: tuple[int, int],
        frame: Resolution,
        header: TableHeader,
        tables: Sequence[str] = (ROWS,),
        cells_um: float | None = None,
    ) -> None:
        self._out, self._id = out, image_id
        self._folder = out / f".{image_id}.partial"
        build = partial(MapFiles, self._folder, image_id, scratch, shape=shape, frame=frame)
        self.nuclei = build(header=header, tables=tables)
        self.cells = None
        if cells_um is not None:
            about = {**header.about, "expand_um": cells_um}
            unique = uuid.uuid5(header.unique, f"cells {cells_um}")
            of_cells = TableHeader(about, unique, "cell", header.simplify_px)
            self.cells = build(header=of_cells, tables=tables, of="cells")

    def finish(
        self,
        nuclei: Iterable[Mapping[str, bytes]],
        *,
        cells: Iterable[Mapping[str, bytes]] = (),
        overlay: npt.NDArray[np.uint8],
        certificate: dict[str, Any],
        build_report: Callable[[], str] | None = None,
    ) -> None:
        """Put the files together, and remove what was kept.

        `nuclei` and `cells` are those of all parts, `overlay` is (h, w, 3) uint8, `certificate`
        plain JSON types. `build_report` gives the HTML page once all `nuclei` are written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self.nuclei.write(nuclei)
        if self.cells is not None:
            self.cells.write(cells)
        write_picture(self._folder / OVERLAY, overlay)
        write_json(self._folder / CERTIFICATE, certificate)
        if build_report is not None:
            page = build_report()
            (self._folder / REPORT).write_text(page, encoding="utf-8", newline="\n")
        sync_tree(self._folder)
        self._folder.rename(self._out / self._id)
        sync(self._out)
        work = work_folder(self._out, self._id)
        shutil.rmtree(work, ignore_errors=True)
        with suppress(OSError):  # another image is at work there
            work.parent.rmdir()


def build_header(
    image_id: str,
    certificate: Mapping[str, Any],
    *,
    shape: tuple[int, int],
    frame: Resolution,
    kind: GeoJsonKind = "detection",
    simplify_px: float = 0,
) -> TableHeader:
    """Build the head that the tables of an image have before their first row.

    The unique number is the same for the same nuclei, a random one is what tifffile would invent.
    It is known before the map is drawn: the map follows from the rest of the `certificate`.
    """
    after = ("cut", "instances_digest", "cells")
    made_of = {key: value for key, value in certificate.items() if key not in after}
    content = json.dumps(made_of, sort_keys=True).encode()
    about = {
        "image": image_id,
        "shape_px": list(shape),
        "mpp": frame.mpp,
        "series": frame.source.series,
        "offset_px": list(frame.source.offset_px),
    }
    unique = uuid.UUID(bytes=hashlib.sha256(content).digest()[:16])
    return TableHeader(about, unique, kind, simplify_px)


def _cut(content: npt.NDArray[np.uint8], sizes: npt.NDArray[np.int64]) -> list[bytes]:
    ends = np.cumsum(sizes).tolist()
    whole = content.tobytes()
    return [whole[end - size : end] for end, size in zip(ends, sizes.tolist(), strict=True)]


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
