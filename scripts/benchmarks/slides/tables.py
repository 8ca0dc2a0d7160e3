"""Tables that appear row by row: Markdown on the terminal, CSV in a folder."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import click

Row = Mapping[str, object]


def show(name: str, rows: Iterable[Row], results: Path | None) -> Iterator[Row]:
    """Print each row as it comes, also to `results/name.csv`; the rows again."""
    columns: list[str] = []
    stream = None
    if results is not None:
        results.mkdir(parents=True, exist_ok=True)
        stream = (results / f"{name}.csv").open("w", newline="", encoding="utf-8")
    try:
        for row in rows:
            if not columns:
                columns = list(row)
                click.echo(_line(columns))
                click.echo(_line(["---"] * len(columns)))
                if stream:
                    csv.writer(stream).writerow(columns)
            cells = [_text(row.get(column)) for column in columns]
            click.echo(_line(cells))
            if stream:
                csv.writer(stream).writerow(cells)
                stream.flush()
            yield row
    finally:
        if stream:
            stream.close()
    click.echo()


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
