"""Read the rows of nuclei.parquet again, some at a time."""

from collections.abc import Iterator
from pathlib import Path

from nucleipel.core.measured_nuclei import MeasuredNuclei
from nucleipel.errors import StoreError
from nucleipel.io.nuclei.write_geoparquet import ROWS_PER_GROUP, rows_of_table


def read_rows(path: Path) -> Iterator[MeasuredNuclei]:
    """The rows of a table, in order of ids.

    Raises
    ------
    StoreError
        If it is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_PER_GROUP):
                yield rows_of_table(pa.Table.from_batches([batch]))
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: cannot be read: {error}; stitch again") from error
