"""Small tables as CSV: a header and one line a row."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nucleipel.core.atomic import replacing


def write_table(
    path: Path, rows: Iterable[Mapping[str, Any]], *, columns: Sequence[str] | None = None
) -> None:
    """Write a CSV atomically; without `columns`, the first row names them, and has to be there."""
    listed = list(rows)
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns or list(listed[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV, as `write_table` wrote them."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
