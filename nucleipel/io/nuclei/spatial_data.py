"""Nuclei as SpatialData: labels, outlines, and a table that is linked to both by ids."""

from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.errors import MissingPackageError

NUCLEI, CELLS, IMAGE, TABLE = "nuclei", "cells", "image", "nuclei_table"
INSTANCE, REGION = "instance_id", "region"
OUTLINES = "_outlines"


def build_spatialdata(
    labels: Any,
    nuclei: Any,
    *,
    mpp: float | None,
    cells: tuple[Any, Any] | None = None,
    image: Any = None,
    channels: tuple[str, ...] = (),
) -> Any:
    """A SpatialData object of the nuclei of one image.

    Elements: labels `nuclei`, shapes `nuclei_outlines`, table `nuclei_table` (one row a
    nucleus: measurements in `X`, ids in `instance_id`, `obsm["spatial"]` has (x, y) in px), with
    `cells` the labels `cells` and the shapes `cells_outlines`, with `image` the image `image`.
    Coordinate systems are `global`, in pixels, and `micrometers` where the mpp is known.

    Parameters
    ----------
    labels : (H, W) uint32 array
        NumPy or Dask.
    nuclei : GeoDataFrame
    mpp : float, optional
    cells : (labels, GeoDataFrame), optional
        With the same ids.
    image : (H, W) or (H, W, C) array, optional
    channels : tuple of str
        Names of its channels.

    Raises
    ------
    MissingPackageError
        If spatialdata is not installed.
    """
    try:
        import spatialdata
        from spatialdata.models import Image2DModel, Labels2DModel, ShapesModel
        from spatialdata.transformations import Identity, Scale
    except ImportError as error:
        raise MissingPackageError(
            "spatialdata is not installed: pip install 'nucleipel[spatialdata]'"
        ) from error
    frames: dict[str, Any] = {"global": Identity()}
    if mpp is not None:
        frames["micrometers"] = Scale([mpp, mpp], axes=("x", "y"))
    elements: dict[str, Any] = {}
    shapes = {NUCLEI: (labels, nuclei), **({} if cells is None else {CELLS: cells})}
    for name, (ids, outlines) in shapes.items():
        elements[name] = Labels2DModel.parse(ids, dims=("y", "x"), transformations=dict(frames))
        shown = outlines.set_index("id")[["geometry"]]
        elements[name + OUTLINES] = ShapesModel.parse(shown, transformations=dict(frames))
    if image is not None:
        pixels = image[..., None] if image.ndim == 2 else image
        elements[IMAGE] = Image2DModel.parse(
            np.moveaxis(pixels, -1, 0), dims=("c", "y", "x"), c_coords=list(channels) or None,
            transformations=dict(frames),
        )  # fmt: skip
    elements[TABLE] = _table(nuclei)
    return spatialdata.SpatialData.init_from_elements(elements)


def as_dask(labels: Any) -> Any:
    """A map that is read by parts as a Dask array with its chunks."""
    try:
        import dask.array
    except ImportError as error:
        raise MissingPackageError(
            "SpatialData needs dask: pip install 'nucleipel[spatialdata]'"
        ) from error
    return dask.array.from_array(labels, chunks=labels.chunks, name=False)


def _table(nuclei: Any) -> Any:
    import anndata
    import pandas as pd
    from spatialdata.models import TableModel

    measured = nuclei.drop(columns=["id", "geometry"])
    names = nuclei["id"].astype(str).to_numpy()
    obs = pd.DataFrame({INSTANCE: nuclei["id"].to_numpy()}, index=names)
    obs[REGION] = pd.Categorical([NUCLEI] * len(obs), categories=[NUCLEI])
    table = anndata.AnnData(
        measured.to_numpy(np.float64), obs=obs, var=pd.DataFrame(index=list(measured.columns))
    )
    table.obsm["spatial"] = nuclei[["centroid_x_px", "centroid_y_px"]].to_numpy(np.float64)
    return TableModel.parse(table, region=NUCLEI, region_key=REGION, instance_key=INSTANCE)


def write_spatialdata(path: Path, data: Any, *, overwrite: bool = False) -> None:
    """Write a SpatialData object as its zarr store."""
    data.write(path, overwrite=overwrite)
