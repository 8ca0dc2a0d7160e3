"""Files for other programs: written whole, and over another one with `overwrite` only."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

from nucleipel.core.atomic import replacing
from nucleipel.errors import OutputError

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of every file in a package: the same content gives the same bytes."""


def require_free(path: Path, *, suffix: str, overwrite: bool) -> None:
    """Check before the work that a file may be written at `path`.

    Raises
    ------
    OutputError
        If it is there already, has another suffix, or its folder is missing.
    """
    if path.suffix.lower() != suffix:
        raise OutputError(f"{path}: expected a name that ends in {suffix}")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; expected a file to write; choose another name")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: is there already; choose another name or pass --overwrite")
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: no such folder; make it, or choose another")


def write_exported(path: Path, payload: bytes) -> None:
    """Write one file, atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(payload)


def write_package(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a zip of named files, in their order, atomically."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as package:
        for name, payload in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            package.writestr(entry, payload)
