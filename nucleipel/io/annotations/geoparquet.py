"""GeoParquet: one row a nucleus, its outline as well-known binary, in pixels of level 0.

`nuclei.parquet`, as `stitch` writes it, is one; other tools' files are read too.
"""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from nucleipel.core.measured_nuclei import Outline
from nucleipel.core.wkb import outline_of_wkb, to_wkb
from nucleipel.errors import ImageError
from nucleipel.io.annotations.geojson import Feature, feature_of
from nucleipel.io.annotations.polygons import Polygons, require_coordinates
from nucleipel.io.slides.formats.stored_image import one_line

ROWS_PER_GROUP = 2**15
GEOMETRY = "geometry"
SAYS_WHAT = ("objectType", "object_type", "classification", "class", "type", "category", "name")
"""Columns that say of what kind and class a row is, where another tool wrote them."""


def read_rows(path: Path, shape: tuple[int, int]) -> Iterator[Feature]:
    """Every row, with what its columns say of its kind, for an image of shape (height, width).

    Raises
    ------
    ImageError
        If it is no GeoParquet of well-known binary, or says that it is in the
        pixels of an image of another shape.
    """
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        column = _geometry_column(path, file.schema_arrow, shape)
        said = [name for name in SAYS_WHAT if name in file.schema_arrow.names]
        number = 0
        for batch in file.iter_batches(ROWS_PER_GROUP, columns=[column, *said]):
            for row in batch.to_pylist():
                outline = _outline(f"{path}: row {number}", row.pop(column))
                yield feature_of(number, row, outline)
                number += 1
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{path}: cannot be read as Parquet: {one_line(error)}") from error


def write_polygons(path: Path, polygons: Polygons) -> None:
    """Write one row an area: `id`, its place from 1 on, and its `geometry`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    geometry: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": [],
        "crs": None,
        "edges": "planar",
    }
    about = {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: geometry}}
    schema = pa.schema(
        [("id", pa.int64()), (GEOMETRY, pa.binary())], metadata={"geo": json.dumps(about)}
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        places = iter(range(len(polygons)))
        while chosen := list(islice(places, ROWS_PER_GROUP)):
            shapes = [to_wkb(polygons.outline(place)) for place in chosen]
            columns = [pa.array([place + 1 for place in chosen]), pa.array(shapes, pa.binary())]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=ROWS_PER_GROUP)


def _geometry_column(path: Path, schema: Any, shape: tuple[int, int]) -> str:
    metadata = {key.decode(): value for key, value in (schema.metadata or {}).items()}
    geo = json.loads(metadata.get("geo", "{}"))
    column = str(geo.get("primary_column", GEOMETRY))
    if column not in schema.names:
        raise ImageError(
            f"{path}: has no column '{column}'; expected GeoParquet, with the outlines in it"
        )
    encoding = geo.get("columns", {}).get(column, {}).get("encoding", "WKB")
    if encoding != "WKB":
        raise ImageError(f"{path}: outlines are stored as {encoding}; expected WKB")
    drawn_on = json.loads(metadata.get("nucleipel", "{}")).get("shape_px", list(shape))
    if list(drawn_on) != list(shape):
        raise ImageError(
            f"{path}: in pixels of a map of {drawn_on[0]} x {drawn_on[1]} px, its image has"
            f" {shape[0]} x {shape[1]} px; stitch with map_frame level0"
        )
    return column


def _outline(where: str, content: Any) -> Outline:
    if content is None:
        return []
    try:
        outline = outline_of_wkb(content)
    except (TypeError, ValueError) as error:
        raise ImageError(f"{where}: {error}") from error
    for ring in (ring for polygon in outline for ring in polygon):
        require_coordinates(where, ring)
    return outline
