"""Hashes of what a stage wrote, in the format of `sha256sum`: `sha256sum -c SHA256SUMS` checks it.

While a stage works it notes each finished file in a journal, `.written`: a file
in it is on the disk and is not made again. Processes that share a folder
have a journal each, `.written-2-of-5` say. At the end all files are listed in
`SHA256SUMS`, sorted, and the record holds the hash of that list.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from nucleipel.core.atomic import sync, write_text
from nucleipel.errors import StoreError

SUMS, JOURNAL = "SHA256SUMS", ".written"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def digest_of(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def format_sums(sums: Mapping[str, str]) -> str:
    """One line a file, sorted by name."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))


def parse_sums(text: str) -> dict[str, str]:
    """Hashes by name; lines that are cut off or no such lines are left out."""
    lines = text.split("\n")[:-1]  # what follows the last newline was not written to its end
    matches = (_LINE.fullmatch(line) for line in lines)
    return {match[2]: match[1] for match in matches if match}


def read_sums(path: Path) -> dict[str, str]:
    """The hashes that a list or journal holds; none if there is no such file."""
    try:
        return parse_sums(path.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return {}


def count_present(folder: Path, sums: Mapping[str, str], below: str) -> int:
    """Count the listed files below a folder that are there; other files do not count."""
    return sum((folder / name).is_file() for name in sums if name.startswith(f"{below}/"))


class Written:
    """The journals of a folder: names of finished files below it, and their hashes.

    `journal` is the one that this process adds to.
    """

    def __init__(self, folder: Path, journal: str = JOURNAL) -> None:
        self.folder = folder
        self.sums: dict[str, str] = {}
        for path in folder.glob(f"{JOURNAL}*"):
            self.sums |= read_sums(path)
        self._path = folder / journal
        self._started = False

    def __contains__(self, name: str) -> bool:
        return name in self.sums and (self.folder / name).is_file()

    def add(self, names: Iterable[str]) -> None:
        """Bring finished files to the disk, then note them."""
        new = {}
        for name in names:
            sync(self.folder / name)
            new[name] = digest_of(self.folder / name)
        for folder in {(self.folder / name).parent for name in new}:
            sync(folder)
        self.sums |= new
        if not self._started:
            # anew: a killed run may have left half a line, which a new one must not follow
            write_text(self._path, format_sums(self.sums))
            self._started = True
            return
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write("".join(f"{digest}  {name}\n" for name, digest in new.items()))
            stream.flush()
            os.fsync(stream.fileno())


def require_whole(folder: Path, name: str, sums: Mapping[str, str], *, again: str) -> None:
    """Refuse a file that is not what was written, where its format has no checksums.

    Raises
    ------
    StoreError
        If it is missing or altered; `again` is the command that would make it.
    """
    path = folder / name
    if name not in sums:
        raise StoreError(f"{path}: is not listed as written; {again} again")
    if not path.is_file():
        raise StoreError(f"{path}: is missing; nucleipel verify --repair, then {again} again")
    if digest_of(path) != sums[name]:
        raise StoreError(f"{path}: was altered; nucleipel verify --repair, then {again} again")
