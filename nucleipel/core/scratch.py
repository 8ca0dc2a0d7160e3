"""Intermediate results of long work, in memory or in a folder that outlives a killed run."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.atomic import replacing, write_json

Arrays = dict[str, npt.NDArray[Any]]
IDENTITY = "identity.json"


class Scratch:
    """Named sets of arrays, each complete or absent.

    Parameters
    ----------
    folder : Path, optional
        Where they lie; without it, in memory. What an earlier run left there
        is used if it was for the same `identity`, and removed if not. So is a
        set that a power cut tore: they are not synced, but hold checksums.
    identity : dict
        JSON of all that the contents depend on.
    """

    def __init__(self, folder: Path | None, identity: dict[str, Any]) -> None:
        self.folder = folder
        self._memory: dict[str, Arrays] = {}
        if folder is None:
            return
        if _identity_of(folder) != identity:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_json(folder / IDENTITY, identity)
        for file in folder.glob("*.npz"):
            if not _is_whole(file):
                file.unlink()

    def __contains__(self, name: str) -> bool:
        return name in self._memory if self.folder is None else self._file(name).is_file()

    def put(self, name: str, arrays: Arrays) -> None:
        """Store arrays under a name."""
        if self.folder is None:
            self._memory[name] = arrays
            return
        # what is lost is made again
        with (
            replacing(self._file(name), lasting=False) as temporary,
            temporary.open("wb") as stream,
        ):
            np.savez(stream, **arrays)  # type: ignore[arg-type]

    def get(self, name: str, *keys: str) -> Arrays:
        """The arrays of a name, or only those of `keys`."""
        if self.folder is None:
            arrays = self._memory[name]
            return {key: arrays[key] for key in keys or arrays}
        with np.load(self._file(name), allow_pickle=False) as stored:
            return {key: stored[key] for key in keys or stored.files}

    def _file(self, name: str) -> Path:
        return Path(self.folder or "") / f"{name}.npz"


class Rows:
    """A table that grows: in memory, or as raw bytes in a scratch folder, mapped when read."""

    def __init__(self, scratch: Scratch, name: str, columns: int) -> None:
        self.columns = columns
        self.length = 0
        self._parts: list[npt.NDArray[np.int64]] = []
        self._path = None if scratch.folder is None else scratch.folder / f"{name}.int64"
        if self._path is not None:
            self._path.write_bytes(b"")

    def append(self, rows: npt.NDArray[np.int64]) -> None:
        """Add (n, columns) rows."""
        self.length += len(rows)
        if self._path is None:
            self._parts.append(rows)
        else:
            with self._path.open("ab") as stream:
                stream.write(np.ascontiguousarray(rows, np.int64).tobytes())

    def read(self) -> npt.NDArray[np.int64]:
        """All rows; of a folder, mapped from its file and not held in memory."""
        if self._path is not None and self.length:
            return np.memmap(self._path, np.int64, "r", shape=(self.length, self.columns))
        empty = np.empty((0, self.columns), np.int64)
        return np.concatenate([empty, *self._parts])


def _is_whole(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as stored:
            return stored.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError):
        return False


def _identity_of(folder: Path) -> Any:
    try:
        return json.loads((folder / IDENTITY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
