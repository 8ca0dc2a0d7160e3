"""Intermediate results of long work: in memory, or in a folder that processes share and resume."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]


class Scratch:
    """Named sets of arrays, each complete or absent.

    Parameters
    ----------
    folder : Path, optional
        Where they lie, in a folder of their own for each `identity`; without it, in memory.
        What an earlier run left there for the same identity is used, unless a power cut tore
        it: sets are not synced, but hold checksums. Several processes may use it at a time.
    identity : dict
        JSON of all that the contents depend on.
    """

    def __init__(self, folder: Path | None, identity: dict[str, Any]) -> None:
        self._memory: dict[str, Arrays] = {}
        self._whole: set[str] = set()
        self.folder: Path | None = None
        if folder is not None:
            content = json.dumps(identity, sort_keys=True).encode()
            self.folder = folder / hashlib.sha256(content).hexdigest()[:16]
            self.folder.mkdir(parents=True, exist_ok=True)

    def __contains__(self, name: str) -> bool:
        if self.folder is None:
            return name in self._memory
        if name not in self._whole and _is_whole(self._file(name)):
            self._whole.add(name)
        return name in self._whole

    def put(self, name: str, arrays: Arrays) -> None:
        """Store arrays under a name."""
        if self.folder is None:
            self._memory[name] = arrays
            return
        temporary = self.folder / f".{name}.{uuid4().hex}.partial"  # others may put the same
        try:
            with temporary.open("wb") as stream:
                np.savez(stream, **arrays)  # type: ignore[arg-type]
            temporary.replace(self._file(name))
        finally:
            temporary.unlink(missing_ok=True)
        self._whole.add(name)

    def get(self, name: str, *keys: str) -> Arrays:
        """The arrays of a name, or only those of `keys`."""
        if self.folder is None:
            arrays = self._memory[name]
            return {key: arrays[key] for key in keys or arrays}
        with np.load(self._file(name), allow_pickle=False) as stored:
            return {key: stored[key] for key in keys or stored.files}

    def _file(self, name: str) -> Path:
        return Path(self.folder or "") / f"{name}.npz"


def _is_whole(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as stored:
            return stored.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError):
        return False
