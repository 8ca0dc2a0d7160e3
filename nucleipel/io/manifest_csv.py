"""The CSV of a manifest: from bytes to rows of cells, each with its line."""

import csv
import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from nucleipel.errors import ManifestError

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
REQUIRED = ("image", "label", "split", "source_id")


def read_records(path: Path, *, optional: Collection[str] = ()) -> list[tuple[int, dict[str, str]]]:
    """Each row as (line, cells by column); no cell is checked.

    Cells of `optional` columns that are missing are empty, unless another column
    has nearly the same name.

    Raises
    ------
    ManifestError
        If it is no CSV in UTF-8, a required column is missing or there twice,
        there is no row, or one of another length.
    """
    if not path.is_file():
        raise ManifestError(f"{path}: no such manifest; check the path")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            columns = [column.strip() for column in reader.fieldnames or ()]
            reader.fieldnames = columns
            read = [(reader.line_num, record) for record in reader]
            records = [(line, record) for line, record in read if not _is_blank(record)]
    except UnicodeDecodeError as error:
        line = _line_of_first_fault(path)
        raise ManifestError(
            f"{path}: line {line}: no UTF-8: {error.reason}; save it as CSV UTF-8"
        ) from error
    except csv.Error as error:
        raise ManifestError(f"{path}: line {reader.line_num}: no CSV: {error}; mend it") from error
    twice = [column for column in columns if columns.count(column) > 1]
    if twice:
        raise ManifestError(f"{path}: line 1: column '{twice[0]}' stands there twice; drop one")
    missing = [column for column in REQUIRED if column not in columns]
    if missing and (mark := _other_separator(columns)):
        raise ManifestError(
            f"{path}: line 1: cells are separated by {mark}; expected commas: save it as CSV with"
            " commas"
        )
    for column in missing:
        near = difflib.get_close_matches(column, columns, n=1)
        if near or column not in optional:
            needs = ", ".join(name for name in REQUIRED if name not in optional)
            raise ManifestError(
                f"{path}: column '{column}' is missing; found {', '.join(columns) or 'none'};"
                + (f" is '{near[0]}' meant?" if near else f" a manifest needs {needs}")
            )
    if not records:
        raise ManifestError(f"{path}: no rows; name at least one image")
    for line, record in records:
        if None in record or None in record.values():
            filled = [cell for cell in record.values() if isinstance(cell, str)]
            mark = _other_separator(filled, fewest=len(columns))
            fix = f"are its cells separated by {mark}?" if mark else "mend the row"
            raise ManifestError(f"{path}: line {line}: not {len(columns)} cells; {fix}")
        if any("\0" in cell for cell in record.values()):
            raise ManifestError(f"{path}: line {line}: holds a NUL byte; save it as CSV UTF-8")
    return [(line, dict.fromkeys(missing, "") | record) for line, record in records]


def _is_blank(record: Mapping[str | None, Any]) -> bool:
    """Whether a row has nothing in it but separators and spaces, as spreadsheets leave them."""
    cells = [*record.values()]
    return not any("".join(cell).strip() for cell in cells if cell is not None)


def _other_separator(cells: Sequence[str], *, fewest: int = 2) -> str:
    """What separates cells in place of commas, in words; "" if nothing known does."""
    for mark, name in SEPARATORS.items():
        if any(cell.count(mark) >= fewest - 1 for cell in cells):
            return name
    return ""


def _line_of_first_fault(path: Path) -> int:
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            line.decode()
        except UnicodeDecodeError:
            return number
    return 1
