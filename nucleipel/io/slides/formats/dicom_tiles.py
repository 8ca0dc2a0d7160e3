"""The tile of a slide that each frame of its DICOM files is.

That stands in the file: for each frame, or that frames fill the slide row by row
(TILED_FULL). Files that say neither exist; there, both orders are tried on some frames, and
that one is taken in which neighbors continue each other.
"""

import logging
from collections.abc import Sequence
from contextlib import closing
from functools import cache

import numpy as np

from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.dicom_frames import Frames
from nucleipel.io.slides.formats.dicom_header import Header
from nucleipel.io.slides.formats.stored_image import Pixels

log = logging.getLogger(__name__)

TRIED_FRAMES = 24
CLEARLY = 0.6
"""The edges in the right order differ by less than this share of those in the other."""

Tile = tuple[int, int, str]
"""Row and column of a tile on the grid of frames, and the optical path."""


def find_tiles(files: Sequence[Frames], paths: Sequence[str]) -> dict[Tile, tuple[Frames, int]]:
    """The file and frame of every tile of a level, whose `files` show these optical paths.

    Raises
    ------
    ImageError
        If a tile is missing or there twice, or nothing shows where frames lie.
    """
    places: dict[Tile, tuple[Frames, int]] = {}
    for file in files:
        for index, tile in enumerate(_tiles_of(file)):
            if tile in places:
                raise ImageError(
                    f"{file.header.file}: holds the same part of the slide as"
                    f" {places[tile][0].header.file.name}; keep one of them"
                )
            places[tile] = (file, index)
    rows, columns = _grid(files[0].header)
    expected = rows * columns * len(paths)
    sparse = any(file.header.places is not None for file in files)
    if not sparse and len(places) < expected:
        raise ImageError(
            f"{files[0].header.file}: has {len(places)} of {expected} tiles; copy the slide again,"
            " with all of its files"
        )
    return places


def _tiles_of(file: Frames) -> list[Tile]:
    header = file.header
    height, width = header.frame
    if header.places is not None:
        if any(place.y % height or place.x % width for place in header.places):
            raise ImageError(
                f"{header.file}: frames that lie off the grid of {height} x {width} px; convert it"
            )
        return [(place.y // height, place.x // width, place.path) for place in header.places]
    rows, columns = _grid(header)
    whole, last = rows * columns, header.first_frame + header.frames
    if last > whole * len(header.paths):
        raise ImageError(
            f"{header.file}: {header.frames} frames for {rows} x {columns} tiles; expected one"
            " each; copy it again"
        )
    by_columns = not header.in_rows and _fills_columns(header)
    tiles = []
    for index in range(header.first_frame, last):
        path, place = divmod(index, whole)
        row, column = divmod(place, columns)
        if by_columns:
            column, row = divmod(place, rows)
        tiles.append((row, column, header.paths[path][0]))
    return tiles


def _grid(header: Header) -> tuple[int, int]:
    """Rows and columns of tiles."""
    return -(-header.shape[0] // header.frame[0]), -(-header.shape[1] // header.frame[1])


@cache
def _fills_columns(header: Header) -> bool:
    """Return whether frames fill the slide by columns, of a file that does not say their order.

    Raises
    ------
    ImageError
        If neighbors continue each other in neither order, or in both.
    """
    rows, columns = _grid(header)
    if rows == 1 or columns == 1:
        return False
    with closing(Frames(header)) as file:
        row_gap, column_gap = _edge_gaps(file, rows, columns)
    least, other = sorted((row_gap, column_gap))
    if least > CLEARLY * other or other == 0:
        raise ImageError(
            f"{header.file}: does not say where its frames lie, and their pixels do not show"
            " it; write it anew as TILED_FULL"
        )
    order = "columns" if column_gap < row_gap else "rows"
    _say_once(
        f"{header.file}: does not say where its frames lie; they fit together in {order}"
        f" (edges differ by {least:.1f}, else by {other:.1f})"
    )
    return order == "columns"


def _edge_gaps(file: Frames, rows: int, columns: int) -> tuple[float, float]:
    """Differences at the edges of neighbors if frames fill rows, and if they fill columns."""
    most = file.header.frames - max(rows, columns)
    tried = sorted({int(index) for index in np.linspace(0, max(most - 1, 0), TRIED_FRAMES)})
    by_rows, by_columns = [], []
    for index in tried if most > 0 else ():
        one, after = file.read(index), file.read(index + 1)
        below, right = file.read(index + columns), file.read(index + rows)
        if (index + 1) % columns:
            by_rows.append(_gap(one[:, -1], after[:, 0]))
        by_rows.append(_gap(one[-1], below[0]))
        if (index + 1) % rows:
            by_columns.append(_gap(one[-1], after[0]))
        by_columns.append(_gap(one[:, -1], right[:, 0]))
    return float(np.mean(by_rows or [0])), float(np.mean(by_columns or [0]))


def _gap(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(np.int64) - other).mean())


@cache
def _say_once(line: str) -> None:
    log.warning("%s", line)
