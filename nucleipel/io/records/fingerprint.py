"""Short hashes of what files hold: resume and identity go by content, never by times."""

import hashlib
import os
from pathlib import Path

WHOLE_LIMIT_BYTES = 64 * 2**20
SAMPLES = 64
SAMPLE_BYTES = 2**20
MIRAX_SUFFIX = ".mrxs"


def fingerprint(path: Path, *, without: Path | None = None) -> str:
    """Hash a file or a folder with sha256, large ones by samples.

    A file over 64 MiB counts by its size and 64 evenly spaced MiB. A folder (an
    OME-Zarr image, a data set) counts by the names and sizes of all files in it
    and by the content of each, or of 64 evenly spaced ones if all together are
    over 64 MiB. A MIRAX slide counts by the .mrxs file and by its folder, which
    holds the pixels. The samples distinguish slides within a second; they do not
    notice one flipped bit between them. What lies below `without` does not count.
    """
    if path.is_dir():
        return _folder_fingerprint(path, without)
    if path.suffix.lower() == MIRAX_SUFFIX and path.with_suffix("").is_dir():
        both = _file_fingerprint(path) + _folder_fingerprint(path.with_suffix(""))
        return hashlib.sha256(both.encode()).hexdigest()
    return _file_fingerprint(path)


def _file_fingerprint(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as stream:
        if size <= WHOLE_LIMIT_BYTES:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        digest = hashlib.sha256(str(size).encode())
        for sample in range(SAMPLES):
            stream.seek((size - SAMPLE_BYTES) * sample // (SAMPLES - 1), os.SEEK_SET)
            digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _folder_fingerprint(folder: Path, without: Path | None = None) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if without is not None:
        own = without.resolve()
        files = [path for path in files if not path.resolve().is_relative_to(own)]
    sizes = [file.stat().st_size for file in files]
    digest = hashlib.sha256()
    for file, size in zip(files, sizes, strict=True):
        digest.update(f"{file.relative_to(folder).as_posix()}:{size}\n".encode())
    step = 1 if sum(sizes) <= WHOLE_LIMIT_BYTES else max(1, len(files) // SAMPLES)
    for file in files[::step]:
        digest.update(_file_fingerprint(file).encode())
    return digest.hexdigest()
