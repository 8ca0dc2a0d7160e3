"""Which reader opens a path, and what a file really is when none can."""

from pathlib import Path

from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.ome_zarr import open_ome_zarr
from nucleipel.io.slides.formats.openslide import open_through_openslide
from nucleipel.io.slides.formats.raster import open_raster
from nucleipel.io.slides.formats.stored_image import StoredImage, one_line
from nucleipel.io.slides.formats.tiff import open_tiff

TIFF_SUFFIXES = (".tif", ".tiff", ".svs", ".ndpi", ".btf", ".tf8")
RASTER_SUFFIXES = (".png", ".jpg", ".jpeg")
ZARR_SUFFIX = ".zarr"
OPENSLIDE_SUFFIXES = (".mrxs", ".scn", ".bif", ".svslide")
SIGNATURES = {
    b"version https://git-lfs": "a Git LFS pointer, not the image: run git lfs pull",
    b"\x89PNG": "a PNG: name it .png",
    b"\xff\xd8\xff": "a JPEG: name it .jpg",
    b"II*\0": "a TIFF: name it .tif",
    b"MM\0*": "a TIFF: name it .tif",
    b"II+\0": "a BigTIFF: name it .tif",
    b"MM\0+": "a BigTIFF: name it .tif",
    b"%PDF": "a PDF: export the image",
    b"PK\x03\x04": "a zip archive: unpack it",
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"<": "a web page or XML: download the image itself",
}


def open_image(path: Path) -> StoredImage:
    """Open an image by its suffix.

    Raises
    ------
    ImageError
        If there is no such file, if it is of an unknown kind or damaged, or if
        its pixels would have to be guessed at. The message names the file.
    """
    suffix = path.suffix.lower()
    _require_there(path, folder=suffix == ZARR_SUFFIX)
    openers = dict.fromkeys(TIFF_SUFFIXES, open_tiff) | dict.fromkeys(RASTER_SUFFIXES, open_raster)
    openers |= dict.fromkeys(OPENSLIDE_SUFFIXES, open_through_openslide)
    opener = (openers | {ZARR_SUFFIX: open_ome_zarr}).get(suffix)
    if opener is None:
        known = " ".join(sorted((*openers, ZARR_SUFFIX)))
        raise ImageError(f"{path}: unknown kind of image '{suffix}'; expected one of {known}")
    try:
        return opener(path)
    except ImageError:
        raise
    except Exception as error:  # nine types were seen on malformed TIFFs alone
        raise ImageError(f"{path}: {_what_it_is(path, error)}") from error


def _require_there(path: Path, *, folder: bool) -> None:
    """Say at once what is no image: nothing, a folder, a pipe, a link that leads nowhere."""
    try:
        found = path.is_dir() if folder else path.is_file()
        exists = path.exists()
    except OSError as error:  # a loop of links, a name too long
        raise ImageError(f"{path}: {one_line(error)}; check the path") from error
    if found:
        return
    if path.is_symlink() and not exists:
        raise ImageError(f"{path}: a link that leads to no file; mend it")
    if not exists:
        raise ImageError(f"{path}: no such file; check the path (and --data-root)")
    kind = "a folder" if path.is_dir() else "no regular file"
    raise ImageError(f"{path}: is {kind}; expected {'a zarr folder' if folder else 'an image'}")


def _what_it_is(path: Path, error: Exception) -> str:
    if path.is_dir():
        return f"cannot be read as OME-Zarr: {one_line(error)}; copy it again"
    size = path.stat().st_size
    if size == 0:
        return "is empty (0 bytes); copy it again"
    with path.open("rb") as stream:
        head = stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    suffix = path.suffix.lower()
    wanted = "TIFF" if suffix in TIFF_SUFFIXES else "PNG or JPEG"
    wanted = f"{suffix} by OpenSlide" if suffix in OPENSLIDE_SUFFIXES else wanted
    for signature, what in SIGNATURES.items():
        if head.startswith(signature) and not any(word in what for word in wanted.split(" or ")):
            return f"is {what}"
    return (
        f"cannot be read as {wanted} (damaged or truncated at {size} bytes):"
        f" {one_line(error)}; copy it again"
    )
