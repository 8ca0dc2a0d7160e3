"""Outputs written in one call, which `stitch` writes part by part."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.measured_nuclei import MeasuredNuclei
from nucleipel.instances.statistics import ImageStatistics
from nucleipel.io.nuclei.label_pyramid import LabelPyramid, ReadPart
from nucleipel.io.nuclei.table_format import TableHeader
from nucleipel.io.nuclei.write_tables import encode_tables, open_tables
from nucleipel.io.slides.resolution import WorldFrame


def collect(summary: ImageStatistics, nuclei: Iterable[MeasuredNuclei]) -> Iterator[MeasuredNuclei]:
    """Yield the rows of a table, each added to the statistics before."""
    for rows in nuclei:
        summary.add(rows)
        yield rows


def write_nuclei(
    folder: Path,
    nuclei: Iterable[MeasuredNuclei],
    header: TableHeader,
    *,
    tables: Sequence[str] = ("parquet",),
) -> int:
    """Write the nuclei of an image into `folder`, in some formats of `TABLES`; returns how many.

    The first of `nuclei` names the columns, and may have no rows.
    """
    count = 0
    with open_tables(folder, header, tables) as write:
        for rows in nuclei:
            count += len(rows.outlines)
            write(encode_tables(rows, header, tables))
    return count


def write_label_pyramid(path: Path, instance_map: Any, *, name: str, world: WorldFrame) -> int:
    """Write a map (H, W) uint32 that is read by parts; returns the number of levels."""
    pyramid = LabelPyramid(path, instance_map.shape, name=name, world=world)
    for level in range(len(pyramid.shapes)):
        read: ReadPart = lambda box: np.asarray(instance_map[box.slices])  # noqa: E731
        for band in range(pyramid.bands(level)):
            for _ in pyramid.draw(level, band, pyramid.reader(level - 1) if level else read):
                pass
    pyramid.finish()
    return len(pyramid.shapes)
