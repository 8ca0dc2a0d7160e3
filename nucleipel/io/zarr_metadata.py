"""The `zarr.json` files of a group or array that several processes write into at a time.

Each process writes the same metadata before its first chunk: whoever is first
does not matter, and none waits for another.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

META = "zarr.json"


def metadata_of(create: Callable[[Any], object]) -> dict[str, bytes]:
    """The metadata files that `create` makes in the zarr store that it is given, by name."""
    from zarr.storage import MemoryStore

    kept: dict[str, Any] = {}
    create(MemoryStore(kept))
    return {name: content.to_bytes() for name, content in kept.items() if name.endswith(META)}


def put_metadata(folder: Path, files: dict[str, bytes]) -> None:
    """Have these files below `folder`, each whole or not at all."""
    for name, content in files.items():
        path = folder / name
        if path.is_file() and path.read_bytes() == content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid4().hex}.partial")
        temporary.write_bytes(content)
        temporary.replace(path)
