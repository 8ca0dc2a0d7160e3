"""Pixels that a tag says lie on their side, upside down or mirrored.

Viewers disagree: photo viewers turn them, QuPath, ImageJ and most readers of
slides do not. Coordinates of nuclei and annotations would fit one half of them,
so such a file is refused until it says what its pixels are.
"""

from pathlib import Path
from typing import Any

from nucleipel.errors import ImageError

TURNS = {
    2: "mirrored",
    3: "turned by 180 degrees",
    4: "upside down",
    5: "mirrored and turned by 90 degrees",
    6: "turned by 90 degrees",
    7: "mirrored and turned by 90 degrees",
    8: "turned by 90 degrees",
}


def require_upright(path: Path, orientation: Any, where: str) -> None:
    """Check an orientation of TIFF or EXIF (1..8; None for a file without one).

    Raises
    ------
    ImageError
        If the pixels are not stored as they are meant to be seen.
    """
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    if turn:
        raise ImageError(
            f"{path}: {where} ({int(orientation)}) says that its pixels are {turn}, which viewers"
            " treat differently; save it upright (magick IN -auto-orient OUT), or, if the pixels"
            " are right as they are, set the tag to 1 (exiftool -n -Orientation=1 FILE)"
        )
