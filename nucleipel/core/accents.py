"""Paths whose accents a file system may spell in another form of Unicode than a table does."""

import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import Literal

Form = Literal["NFC", "NFD"]
FORMS: tuple[Form, ...] = ("NFC", "NFD")


def existing_path(path: Path) -> Path:
    """The path, or the same in NFC or NFD if only that exists.

    macOS writes names in NFD, most other programs in NFC; people see no difference.
    """
    text = str(path)
    if text.isascii():
        return path
    with suppress(OSError, ValueError):
        if not path.exists():
            for form in FORMS:
                other = _spelled(path, form)
                if other.exists():
                    return other
    return path


def _spelled(path: Path, form: Form) -> Path:
    """The path with every part that does not exist in another form."""
    spelled = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        other = unicodedata.normalize(form, part)
        spelled /= part if (spelled / part).exists() else other
    return spelled
