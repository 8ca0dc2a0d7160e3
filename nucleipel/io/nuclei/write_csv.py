"""The nuclei of one image as CSV: all columns but the geometry."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nucleipel.core.measured_nuclei import MeasuredNuclei
from nucleipel.io.nuclei.table_format import TableHeader, Write

END_OF_NAMES = "\0"


def encode_csv(rows: MeasuredNuclei, _: TableHeader) -> bytes:
    """The names, then a line for each row: NaN is an empty cell, other floats have 4 decimals."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(rows.columns)
    stream.write(END_OF_NAMES)
    cells = (map(_cell, values) for values in rows.columns.values())
    writer.writerows(zip(*cells, strict=True))
    return stream.getvalue().encode()


@contextmanager
def open_csv(path: Path, _: TableHeader) -> Iterator[Write]:
    """Open a CSV; the names of the columns are written once."""
    with path.open("wb") as stream:

        def write(encoded: bytes) -> None:
            names, rows = encoded.split(END_OF_NAMES.encode(), 1)
            if stream.tell() == 0:
                stream.write(names)
            stream.write(rows)

        yield write


def _cell(value: np.generic) -> str:
    if isinstance(value, np.floating):
        return "" if np.isnan(value) else f"{value:.4f}"
    return str(value)
