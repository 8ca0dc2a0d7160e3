"""Formats for the nuclei of one image: a file name, and a function that opens the file."""

import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nucleipel.core.choices import GeoJsonKind
from nucleipel.core.measured_nuclei import MeasuredNuclei


@dataclass(frozen=True)
class TableHeader:
    """The head of a table, known before its first row.

    Parameters
    ----------
    about : mapping
        The image, plain JSON types.
    unique : UUID
        The same for the same nuclei, another one for others.
    kind : {"detection", "annotation", "cell"}
        Of QuPath's objects.
    simplify_px : float
        Corners of outlines in GeoJSON are left out as long as none moves by more; 0 for none.
    """

    about: Mapping[str, Any]
    unique: uuid.UUID
    kind: GeoJsonKind = "detection"
    simplify_px: float = 0


Write = Callable[[bytes], None]
"""Writes some encoded rows more into a file that is open."""


@dataclass(frozen=True)
class TableFormat:
    """A file that nuclei are written to, some rows at a time.

    Rows are encoded first, in any process and order; then the file is written
    from what `encode` gave of all of them. Its bytes depend on the rows, not on
    how many were encoded at a time.

    Parameters
    ----------
    suffix : str
        The end of its name, after the dot.
    encode : callable
        Encodes some rows; of none, still their columns.
    open : callable
        Opens the file and gives a function that writes encoded rows, in order.
    """

    suffix: str
    encode: Callable[[MeasuredNuclei, TableHeader], bytes]
    open: Callable[[Path, TableHeader], AbstractContextManager[Write]]
