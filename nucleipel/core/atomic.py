"""The one way to write a file: under a temporary name in its folder, synced, then renamed.

A process that is killed while it writes leaves at most a `*.partial` file; a
file with the final name has its whole content.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WINDOWS = os.name == "nt"


@contextmanager
def replacing(path: Path, *, lasting: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it becomes `path`.

    On any exception the temporary file is removed and `path` stays as it was.
    One that is not `lasting` survives a killed process, but a power cut may
    leave it torn: its reader must be able to detect that.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        if lasting:
            sync(temporary)
        temporary.replace(path)
        if lasting:
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: two-space indent, insertion order, a final newline."""
    write_text(path, json.dumps(value, indent=2) + "\n")


SEAL = "content_sha256"


def write_sealed_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON object atomically, with the hash of its own content in it."""
    plain = json.loads(json.dumps(value))  # as it will be read: lists for tuples, keys as text
    write_json(path, {**plain, SEAL: _seal_of(plain)})


def read_sealed_json(path: Path) -> dict[str, Any]:
    """The object that `write_sealed_json` wrote, without its hash.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no JSON object, or its content is not what its hash says.
    """
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict) or value.pop(SEAL, None) != _seal_of(value):
        raise ValueError(f"its content does not match its {SEAL}")
    return value


def _seal_of(value: dict[str, Any]) -> str:
    content = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


def sync_tree(folder: Path) -> None:
    """Bring every file below a folder to the disk, before a record lists them."""
    for path in sorted(folder.rglob("*"), reverse=True):  # files before the folders they lie in
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Bring one file, or the entries of one folder, to the disk.

    Windows opens no folder: there the system writes the entries when it likes.
    """
    if WINDOWS and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
