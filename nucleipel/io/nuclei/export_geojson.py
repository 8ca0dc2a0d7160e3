"""Nuclei and cells as one GeoJSON file for other programs. Xenium Ranger reads `cell` only."""

import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from nucleipel.core.choices import GeoJsonKind
from nucleipel.core.measured_nuclei import MeasuredNuclei, Outline
from nucleipel.io.nuclei.table_format import TableHeader
from nucleipel.io.nuclei.write_geojson import encode_geojson, open_geojson


def export_geojson(
    path: Path,
    rows: Iterable[MeasuredNuclei],
    unique: uuid.UUID,
    *,
    kind: GeoJsonKind,
    nuclei: Iterable[MeasuredNuclei] | None = None,
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
    """
    header = TableHeader({}, unique, kind, simplify_px)
    inside = None if nuclei is None else (line for some in nuclei for line in some.outlines)
    with open_geojson(path, header) as write:
        for some in rows:
            write(encode_geojson(_with_nuclei(some, inside), header))


def _with_nuclei(rows: MeasuredNuclei, inside: Iterator[Outline] | None) -> MeasuredNuclei:
    if inside is None:
        return rows
    return MeasuredNuclei(rows.columns, rows.outlines, [next(inside) for _ in rows.outlines])
