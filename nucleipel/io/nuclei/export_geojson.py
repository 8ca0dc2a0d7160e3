"""Nuclei and cells as GeoJSON for other programs: objects of any kind of QuPath's.

QuPath's `detection` has an outline, its `annotation` can be edited, its `cell`
has a nucleus inside (`nucleusGeometry`). Xenium Ranger reads `cell` only.
"""

import json
import uuid
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from nucleipel.core.measured_nuclei import MeasuredNuclei, Outline
from nucleipel.core.wkb import to_wkb
from nucleipel.errors import MissingPackageError
from nucleipel.io.nuclei.table_format import TableHeader
from nucleipel.io.nuclei.write_geojson import geometry_of, open_geojson, records_of

Kind = Literal["detection", "annotation", "cell"]


def export_geojson(
    path: Path,
    rows: Iterable[MeasuredNuclei],
    unique: uuid.UUID,
    *,
    kind: Kind,
    nuclei: Iterable[MeasuredNuclei] = (),
    simplify_px: float = 0,
) -> None:
    """Write rows as one FeatureCollection, a feature a line.

    Parameters
    ----------
    path : Path
        Ends in .geojson, or in .gz to be compressed.
    rows : iterable of MeasuredNuclei
        The objects; `id` of a feature is a UUID of `unique` and the nucleus' id.
    kind : {"detection", "annotation", "cell"}
    nuclei : iterable of MeasuredNuclei, optional
        The nucleus of each cell, in the same order.
    simplify_px : float
        Corners are left out as long as no outline moves by more than this; 0 for none.

    Raises
    ------
    MissingPackageError
        If outlines are simplified and shapely is not installed.
    """
    with open_geojson(path, TableHeader({}, unique)) as write:
        for cell, nucleus in zip_longest(_each(rows), _each(nuclei)):
            record, outline = cell
            feature = {
                "type": "Feature",
                "id": str(uuid.uuid5(unique, str(record["id"]))),
                "properties": {"objectType": kind, "measurements": record},
            }
            text = json.dumps(feature, separators=(",", ":"))[:-1]
            text += f',"geometry":{_geometry(outline, simplify_px)}'
            if nucleus is not None:
                text += f',"nucleusGeometry":{_geometry(nucleus[1], simplify_px)}'
            write(f"{text}}}".encode("ascii"))


def _each(rows: Iterable[MeasuredNuclei]) -> Iterator[tuple[dict[str, Any], Outline]]:
    for some in rows:
        yield from zip(records_of(some.columns), some.outlines, strict=True)


def _geometry(outline: Outline, simplify_px: float) -> str:
    if not simplify_px:
        return geometry_of(outline)
    try:
        import shapely
    except ImportError as error:
        raise MissingPackageError(
            "simplify_px needs shapely: pip install 'nucleipel[geopandas]'"
        ) from error
    simple = shapely.simplify(shapely.from_wkb(to_wkb(outline)), simplify_px)
    return json.dumps(shapely.geometry.mapping(simple), separators=(",", ":"))
