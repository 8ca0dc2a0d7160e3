"""Check that a TIFF is all there, before a pixel is decoded."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.errors import ImageError

LARGEST_CHUNK_BYTES = 2**30


def require_last_page(path: Path, tiff: Any) -> None:
    """Check that pages do not lead back to an earlier one: tifffile would gather them for ever.

    Raises
    ------
    ImageError
        If they do.
    """
    seen: set[int] = set()
    for page in tiff.pages:
        if page.offset in seen:
            raise ImageError(f"{path}: its pages lead round in a loop; export the image again")
        seen.add(page.offset)


def require_whole(path: Path, level: Any, *, size: int) -> None:
    """Check that every tile or strip of a level lies in the file of `size` bytes, none too large.

    Raises
    ------
    ImageError
        If not.
    """
    page = level.keyframe
    chunk_bytes = math.prod(page.chunks) * page.dtype.itemsize
    if chunk_bytes > LARGEST_CHUNK_BYTES:
        raise ImageError(
            f"{path}: stored in pieces of {chunk_bytes / 2**30:.1f} GiB, which cannot be read by"
            " region; convert it to a tiled TIFF"
        )
    if level.dataoffset is not None:  # all planes in one run of bytes
        _require_bytes(path, level.dataoffset + level.nbytes, size)
    for plane in level.pages:
        if plane is None and level.dataoffset is None:
            raise ImageError(
                f"{path}: a channel lies in another file, which is missing or damaged; put it"
                " beside this one, or export one file"
            )
        if plane is None:  # part of such a run
            continue
        offsets, counts = np.asarray(plane.dataoffsets), np.asarray(plane.databytecounts)
        pieces = math.prod(page.chunked)
        if len(counts) < pieces or len(offsets) < pieces:
            raise ImageError(
                f"{path}: has {len(counts)} of {pieces} tiles or strips of a level of"
                f" {page.imagelength} x {page.imagewidth} px; copy it again"
            )
        if (counts[:pieces] == 0).any() or (offsets[:pieces] == 0).any():
            first = int(np.argmax((counts[:pieces] == 0) | (offsets[:pieces] == 0)))
            raise ImageError(
                f"{path}: tile or strip {first} of a level of {page.imagelength} x"
                f" {page.imagewidth} px is missing; export the image again"
            )
        _require_bytes(path, int((offsets[:pieces] + counts[:pieces]).max()), size)


def _require_bytes(path: Path, needed: int, size: int) -> None:
    if needed > size:
        raise ImageError(f"{path}: truncated: needs {needed} bytes, has {size}; copy it again")
