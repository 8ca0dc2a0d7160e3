"""Formats for the nuclei of one image: a file name, and a function that opens the file."""

import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nucleipel.core.nucleus_rows import Write


@dataclass(frozen=True)
class TableHeader:
    """The head of a table, known before its first row.

    Parameters
    ----------
    about : mapping
        The image, plain JSON types.
    unique : UUID
        The same for the same nuclei, another one for others.
    """

    about: Mapping[str, Any]
    unique: uuid.UUID


@dataclass(frozen=True)
class TableFormat:
    """A file that nuclei are written to, some rows at a time.

    Parameters
    ----------
    file : str
        Its name in the folder of an image.
    open : callable
        Opens it and gives a function that writes rows. The bytes of the file
        depend on all rows, not on how many come at a time.
    """

    file: str
    open: Callable[[Path, TableHeader], AbstractContextManager[Write]]
