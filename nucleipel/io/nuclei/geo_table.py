"""The table of nuclei as a GeoDataFrame, from its file or from rows in memory: the same columns."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nucleipel.core.measured_nuclei import MeasuredNuclei
from nucleipel.errors import MissingPackageError, StoreError
from nucleipel.io.nuclei.write_geoparquet import GEOMETRY, arrow_table


def geo_table(rows: Iterable[MeasuredNuclei]) -> Any:
    """Rows as a GeoDataFrame, one nucleus each, in pixels (x, y) of the instance map.

    Raises
    ------
    MissingPackageError
        If geopandas is not installed.
    """
    _require_geopandas()
    import pyarrow as pa

    return _geo_frame(pa.concat_tables([arrow_table(some) for some in rows]))


def read_geo_table(path: Path) -> Any:
    """Read nuclei.parquet as a GeoDataFrame; errors as `geo_table`.

    Raises
    ------
    StoreError
        If the file is missing or damaged.
    """
    _require_geopandas()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return _geo_frame(pq.read_table(path))
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: cannot be read: {error}; stitch again") from error


def _geo_frame(table: Any) -> Any:
    import geopandas
    import shapely

    frame = table.drop_columns([GEOMETRY]).to_pandas()
    outlines = shapely.from_wkb(table[GEOMETRY].to_pylist())
    return geopandas.GeoDataFrame(frame, geometry=outlines)


def _require_geopandas() -> None:
    try:
        import geopandas  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            "a table of nuclei needs geopandas: pip install 'nucleipel[geopandas]'"
        ) from error
