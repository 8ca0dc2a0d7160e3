"""The nuclei of one image as CSV: all columns but the geometry."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nucleipel.core.nucleus_rows import NucleusRows, Write
from nucleipel.io.nuclei.table_format import TableHeader


@contextmanager
def open_csv(path: Path, header: TableHeader) -> Iterator[Write]:
    """Open a CSV: NaN is an empty cell, other floats have four decimals."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")

        def write(rows: NucleusRows) -> None:
            if stream.tell() == 0:
                writer.writerow(rows.columns)
            cells = (map(_cell, values) for values in rows.columns.values())
            writer.writerows(zip(*cells, strict=True))

        yield write


def _cell(value: np.generic) -> str:
    if isinstance(value, np.floating):
        return "" if np.isnan(value) else f"{value:.4f}"
    return str(value)
