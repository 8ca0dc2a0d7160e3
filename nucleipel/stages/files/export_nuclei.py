"""Write finished nuclei, and cells around them, in the formats of other programs."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nucleipel.config import ExportNucleiConfig
from nucleipel.core.choices import GeoJsonKind
from nucleipel.errors import OutputError
from nucleipel.io.nuclei.export_geojson import export_geojson
from nucleipel.io.nuclei.export_masks import export_sparse, export_tiff
from nucleipel.io.nuclei.geo_table import geo_table
from nucleipel.io.nuclei.read_output import (
    NUCLEI,
    image_folder,
    image_mpp,
    images_of,
    open_labels,
    read_certificate,
)
from nucleipel.io.nuclei.read_rows import read_rows
from nucleipel.io.nuclei.spatial_data import as_dask, build_spatialdata, write_spatialdata
from nucleipel.stages.arrays.expand_nuclei import expand_nuclei
from nucleipel.stages.arrays.merge_labels import LabeledArray


@dataclass(frozen=True)
class _Exported:
    """One image: its nuclei, perhaps cells around them, and where its files go."""

    source: Path
    target: Path
    labels: Any
    mpp: float | None
    cells: LabeledArray | None
    unique: uuid.UUID
    config: ExportNucleiConfig

    def geojson(self, kind: GeoJsonKind) -> str:
        """Write the nuclei, or the cells around them with their nuclei; gives the file's name."""
        name, rows, more = "nuclei.geojson", read_rows(self.source / NUCLEI), {}
        if self.cells is not None:
            more = {"nuclei": rows}
            name, rows, kind = "cells.geojson", self.cells.measure(), "cell"
        simplify_px = self.config.simplify_px
        export_geojson(
            self.target / name, rows, self.unique, kind=kind, simplify_px=simplify_px, **more
        )
        return name

    def masks(self) -> tuple[str, str]:
        """Write the maps of nuclei and, if there are, of cells; gives the files' names."""
        export_tiff(self.target / "nuclei.tif", self.labels, mpp=self.mpp)
        if self.cells is None:
            return "nuclei.tif", ""
        export_tiff(self.target / "cells.tif", self.cells.labels, mpp=self.mpp)
        return "nuclei.tif", "cells.tif"


def export_nuclei(
    instances: Path,
    out: Path,
    config: ExportNucleiConfig,
    *,
    to: str,
    overwrite: bool = False,
) -> list[str]:
    """Write the images of an output of `segment` or `stitch` into `out/<id>/`, for one program.

    Returns what to do with them, a line for each image: the command of the program.

    Raises
    ------
    OutputError
        If files are there already.
    StoreError
        If the output is not finished.
    ConfigError
        If cells are wanted and the pixel size is not known.
    """
    lines = []
    for name in images_of(instances):
        source, target = image_folder(instances, name), out / name
        if target.exists() and not overwrite:
            raise OutputError(f"{target}: is there already; choose another --out or --overwrite")
        mpp, labels = image_mpp(source), open_labels(source)
        cells = None
        if config.expand_um is not None:
            rows = list(read_rows(source / NUCLEI))
            cells = expand_nuclei(labels, rows, um=config.expand_um, mpp=mpp)
        target.mkdir(parents=True, exist_ok=True)
        content = f"{read_certificate(source)['instances_digest']} {config.expand_um}"
        unique = uuid.uuid5(uuid.NAMESPACE_OID, content)
        exported = _Exported(source, target, labels, mpp, cells, unique, config)
        lines.append(f"{name}: {TARGETS[to](exported)}")
    return lines


def _to_geojson(image: _Exported) -> str:
    return f"drag {image.target / image.geojson(image.config.geojson_kind)} into QuPath"


def _to_xenium(image: _Exported) -> str:
    image.geojson("cell")
    nuclei, cells = image.masks()
    more = f" --cells={image.target / cells}" if cells else " --expansion-distance=5"
    return (
        "xeniumranger import-segmentation --id=ID --xenium-bundle=BUNDLE"
        f" --nuclei={image.target / nuclei}{more} --units=pixels"
    )


def _to_visium_hd(image: _Exported) -> str:
    file = image.geojson("cell")
    image.masks()
    distance = 5 if image.cells is None else 0
    return (
        f"spaceranger count ... --custom-segmentation-file={image.target / file}"
        f" --nucleus-expansion-distance-micron={distance}"
    )


def _to_bin2cell(image: _Exported) -> str:
    file = image.target / "nuclei.npz"
    export_sparse(file, image.labels)
    if image.cells is not None:
        file = image.target / "cells.npz"
        export_sparse(file, image.cells.labels)
    return f'bin2cell.insert_labels(adata, labels_npz_path="{file}", basis="spatial", mpp=None)'


def _to_spatialdata(image: _Exported) -> str:
    file = image.target / "nuclei.zarr"
    cells = None
    if image.cells is not None:
        cells = as_dask(image.cells.labels), geo_table(image.cells.measure())
    data = build_spatialdata(
        as_dask(image.labels),
        geo_table(read_rows(image.source / NUCLEI)),
        mpp=image.mpp,
        cells=cells,
    )
    write_spatialdata(file, data, overwrite=True)
    return f'spatialdata.read_zarr("{file}")'


TARGETS: dict[str, Callable[[_Exported], str]] = {
    "geojson": _to_geojson,
    "xenium": _to_xenium,
    "visium-hd": _to_visium_hd,
    "bin2cell": _to_bin2cell,
    "spatialdata": _to_spatialdata,
}
"""The programs that files are written for."""
