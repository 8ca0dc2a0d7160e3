"""Results: labels, table, certificate and report, from memory or from a folder."""

import dataclasses
import html
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.io.nuclei.geo_table import geo_table, read_geo_table
from nucleipel.io.nuclei.read_output import (
    CELLS,
    NUCLEI,
    image_folder,
    image_mpp,
    open_labels,
    read_certificate,
    read_report,
)
from nucleipel.io.nuclei.read_rows import read_rows
from nucleipel.io.nuclei.spatial_data import as_dask, build_spatialdata
from nucleipel.io.slides.slide import Slide
from nucleipel.stages.arrays.expand_nuclei import expand_nuclei
from nucleipel.stages.arrays.merge_labels import LabeledArray
from nucleipel.stages.arrays.report_array import report_of_array
from nucleipel.stages.arrays.stitch_array import StitchedArray

FRAME_HEIGHT_PX = 600


class Report:
    """The report of one image, an HTML page; a notebook shows it. `str` gives its text."""

    def __init__(self, page: str) -> None:
        self._page = page

    def __str__(self) -> str:
        return self._page

    def __repr__(self) -> str:
        return f"Report({len(self._page):,} characters of HTML)"

    def _repr_html_(self) -> str:
        page = html.escape(self._page, quote=True)
        return (
            f'<iframe srcdoc="{page}" style="width:100%;height:{FRAME_HEIGHT_PX}px;border:0">'
            "</iframe>"
        )


class ArrayResult:
    """Nuclei of an image or map in memory.

    Attributes
    ----------
    labels : (H, W) uint32
        Ids 1..n, 0 for background, in raster order of first pixels at the working resolution.
    certificate : dict
        Hashes of the map and the instances, and whether any cut shaped a nucleus.
    cells : LabelsResult or None
        Where `expand_um` was set, the cells around nuclei, as of `expand`.
    """

    def __init__(
        self,
        stitched: StitchedArray,
        slide: Slide | None,
        *,
        intensities: bool = True,
        expand_um: float | None = None,
    ) -> None:
        self._stitched, self._slide, self._intensities = stitched, slide, intensities
        self.labels: npt.NDArray[np.uint32] = stitched.labels
        self.certificate: dict[str, Any] = stitched.certificate
        self.cells = None if expand_um is None else self.expand(expand_um)

    @cached_property
    def nuclei(self) -> Any:
        """The table of nuclei, a GeoDataFrame with the columns of nuclei.parquet.

        Raises
        ------
        MissingPackageError
            If geopandas is not installed.
        """
        return geo_table(self._stitched.measure(self._slide if self._intensities else None))

    @cached_property
    def report(self) -> Report:
        """The page that `report.html` would be."""
        return Report(report_of_array(self._stitched, self._slide))

    def expand(self, um: float) -> "LabelsResult":
        """Cells that reach `um` beyond their nuclei, without overlap, with the nuclei's ids.

        Raises
        ------
        ConfigError
            If the pixel size is not known.
        """
        rows = list(self._stitched.measure())
        cells = expand_nuclei(self.labels, rows, um=um, mpp=self._stitched.frame.mpp)
        return LabelsResult(dataclasses.replace(cells, labels=cells.labels[:, :]))

    def to_spatialdata(self, *, cells: "LabelsResult | None" = None) -> Any:
        """Labels, outlines and a table as SpatialData, with the image; `cells` of `expand`, too.

        Raises
        ------
        MissingPackageError
            If spatialdata is not installed.
        """
        image, channels = None, tuple[str, ...]()
        if self._slide is not None and self._slide.image.shape == self.labels.shape:
            channels = self._slide.image.channels
            image = self._slide.image.read(0, Box.of_shape(self.labels.shape))
        return build_spatialdata(
            self.labels,
            self.nuclei,
            mpp=self._stitched.frame.mpp,
            cells=None if cells is None else (cells.labels, cells.nuclei),
            image=image,
            channels=channels,
        )

    def __repr__(self) -> str:
        return _line(self, self.certificate["map"]["nuclei"], self.labels.shape)

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


class LabelsResult:
    """Nuclei that another program found, merged; or the cells around nuclei.

    Attributes
    ----------
    labels : (H, W) uint32
        Ids 1..n, 0 for background, in raster order of first pixels at the working resolution.
    certificate : dict
        What was merged, and that the nuclei are another program's; or how far cells reach.
    """

    def __init__(self, labeled: LabeledArray) -> None:
        self._labeled = labeled
        self.labels: npt.NDArray[np.uint32] = labeled.labels
        self.certificate: dict[str, Any] = labeled.certificate

    @cached_property
    def nuclei(self) -> Any:
        """The table of nuclei, a GeoDataFrame: place, size, shape and outline.

        Raises
        ------
        MissingPackageError
            If geopandas is not installed.
        """
        return geo_table(self._labeled.measure())

    def __repr__(self) -> str:
        return _line(self, self.certificate["nuclei"], self.labels.shape)


class SlideResult:
    """Nuclei of one image in an output folder; everything is read when it is used.

    Attributes
    ----------
    out : Path
        The output folder of `segment` or `stitch`.
    image_id : str
        The image, the name of its folder.
    """

    def __init__(self, out: Path | str, image_id: str) -> None:
        self.out, self.image_id = Path(out), image_id

    @property
    def folder(self) -> Path:
        """The folder of the image's files.

        Raises
        ------
        StoreError
            If the run is not finished, or has no such image.
        """
        return image_folder(self.out, self.image_id)

    @cached_property
    def labels(self) -> Any:
        """The (H, W) uint32 instance map at full size, a zarr array: `labels[:512, :512]`."""
        return open_labels(self.folder)

    @cached_property
    def nuclei(self) -> Any:
        """The table of nuclei, a GeoDataFrame.

        Raises
        ------
        MissingPackageError
            If geopandas is not installed.
        """
        return read_geo_table(self.folder / NUCLEI)

    @cached_property
    def cells(self) -> "StoredCells | None":
        """The cells around nuclei, with `.labels` and `.nuclei`; None without `expand_um`."""
        return StoredCells(self.folder) if (self.folder / CELLS).is_file() else None

    @cached_property
    def certificate(self) -> dict[str, Any]:
        """Hashes of the map and the instances, and whether any cut shaped a nucleus."""
        return read_certificate(self.folder)

    @cached_property
    def report(self) -> Report:
        """The page report.html."""
        return Report(read_report(self.folder))

    def expand(self, um: float) -> LabelsResult:
        """Cells that reach `um` beyond their nuclei; `.labels` are computed when they are indexed.

        Raises
        ------
        ConfigError
            If the pixel size is not known.
        """
        rows = list(read_rows(self.folder / NUCLEI))
        return LabelsResult(expand_nuclei(self.labels, rows, um=um, mpp=image_mpp(self.folder)))

    def to_spatialdata(self, *, cells: LabelsResult | None = None) -> Any:
        """Labels (lazy), outlines and a table as SpatialData; `cells` of `expand`, too.

        Raises
        ------
        MissingPackageError
            If spatialdata is not installed.
        """
        return build_spatialdata(
            as_dask(self.labels),
            self.nuclei,
            mpp=image_mpp(self.folder),
            cells=None if cells is None else (as_dask(cells.labels), cells.nuclei),
        )

    def __repr__(self) -> str:
        return _line(self, self.certificate["map"]["nuclei"], self.labels.shape)

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


class StoredCells:
    """Cells around nuclei in the folder of an image, read when they are used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def labels(self) -> Any:
        """The (H, W) uint32 map of cells, a zarr array, with the ids of their nuclei."""
        return open_labels(self._folder, of="cells")

    @cached_property
    def nuclei(self) -> Any:
        """The table of cells, a GeoDataFrame.

        Raises
        ------
        MissingPackageError
            If geopandas is not installed.
        """
        return read_geo_table(self._folder / CELLS)


def _line(result: object, nuclei: int, shape: tuple[int, ...]) -> str:
    return f"{type(result).__name__}({nuclei:,} nuclei, {shape[0]:,} x {shape[1]:,} px)"
