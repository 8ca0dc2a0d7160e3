"""The evaluation report: JSON, and a CSV of the same name with one row an image."""

import json
from pathlib import Path
from typing import Any

from nucleipel.core.atomic import write_json
from nucleipel.errors import OutputError, StoreError
from nucleipel.io.csv_table import read_table, write_table


def write_report(
    path: Path,
    report: dict[str, Any],
    rows: list[dict[str, Any]],
    *,
    overwrite: bool,
) -> None:
    """Write `path` (JSON) and the CSV of the same name.

    Raises
    ------
    OutputError
        If `path` holds anything but a report of the same comparison.
    """
    if path.exists() and not overwrite:
        _require_same(path, report)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path.with_suffix(".csv"), rows)
    write_json(path, report)


def read_report(path: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Read a report and the rows of its CSV, as `write_report` wrote them.

    Raises
    ------
    StoreError
        If one of the two is missing or cannot be understood.
    """
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return report, read_table(path.with_suffix(".csv"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: no readable report: {error}; evaluate again") from error


def _require_same(path: Path, report: dict[str, Any]) -> None:
    try:
        comparison = json.loads(path.read_text(encoding="utf-8"))["comparison"]
    except (OSError, ValueError, KeyError, TypeError):
        comparison = None
    if comparison != report["comparison"]:
        raise OutputError(f"{path}: holds another report; choose another --out or pass --overwrite")
