"""Choose the reader of a path, and say what a file really is when none can read it."""

from collections.abc import Callable
from pathlib import Path

from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.czi import open_czi
from nucleipel.io.slides.formats.dicom import open_dicom
from nucleipel.io.slides.formats.mirax_scn import open_through_openslide
from nucleipel.io.slides.formats.ome_zarr import open_ome_zarr
from nucleipel.io.slides.formats.png_jpeg import open_raster
from nucleipel.io.slides.formats.stored_image import StoredImage, one_line
from nucleipel.io.slides.formats.suffixes import ZARR_SUFFIX, expected_suffixes, kind_of_image
from nucleipel.io.slides.formats.tiff_svs_ndpi import open_tiff

WHAT_IT_IS = {
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


WANTED = {"tiff": "TIFF", "raster": "PNG or JPEG", "dicom": "DICOM", "czi": "CZI"}
OPENERS: dict[str, Callable[..., StoredImage]] = {
    "tiff": open_tiff,
    "raster": open_raster,
    "openslide": open_through_openslide,
    "zarr": open_ome_zarr,
    "dicom": open_dicom,
    "czi": open_czi,
}


def open_image(path: Path, *, series: int | str | None = None, ids: bool = False) -> StoredImage:
    """Open an image by its suffix, by its first bytes where that is no image's, or a zarr folder.

    Parameters
    ----------
    path : Path
    series : int or str, optional
        Index (from 0) or name of one of the images that the file holds;
        without it, the only one that is no picture of the label or the glass.
    ids : bool
        Whether the pixels are the ids of an instance map, which a color table
        does not change.

    Raises
    ------
    ImageError
        If there is no such file, if it is of an unknown kind or damaged, if
        its pixels would have to be guessed at, or if it holds several images
        and none is chosen. The message names the file.
    """
    kind = _require_kind(path)
    try:
        return OPENERS[kind](path, series=series, ids=ids)
    except ImageError:
        raise
    except Exception as error:  # nine types were seen on malformed TIFFs alone
        raise ImageError(f"{path}: {_what_it_is(path, kind, error)}") from error


def _require_kind(path: Path) -> str:
    """Say at once what is no image: nothing, a folder, a pipe, a link that leads nowhere."""
    try:
        exists = path.exists()
        regular = path.is_file() or path.is_dir()
        kind = kind_of_image(path) if regular else None
    except OSError as error:  # a loop of links, a name too long
        raise ImageError(f"{path}: {one_line(error)}; check the path") from error
    if kind is not None:
        return kind
    if path.is_symlink() and not exists:
        raise ImageError(f"{path}: a link that leads to no file; mend it")
    if not exists:
        raise ImageError(f"{path}: no such file; check the path (and --data-root)")
    if path.suffix.lower() == ZARR_SUFFIX:
        raise ImageError(f"{path}: is no folder; expected a zarr folder")
    if not regular or path.is_dir():
        kind_of_path = "a folder" if path.is_dir() else "no regular file"
        raise ImageError(
            f"{path}: is {kind_of_path}; expected an image, or a folder of zarr or DICOM"
        )
    raise ImageError(
        f"{path}: unknown kind of image '{path.suffix}'; expected one of {expected_suffixes()}"
    )


def _what_it_is(path: Path, kind: str, error: Exception) -> str:
    if path.is_dir() and kind == "dicom":
        return f"cannot be read as DICOM: {one_line(error)}; copy it again"
    if path.is_dir():
        return f"cannot be read as OME-Zarr: {one_line(error)}; copy it again"
    size = path.stat().st_size
    if size == 0:
        return "is empty (0 bytes); copy it again"
    with path.open("rb") as stream:
        head = stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    wanted = WANTED.get(kind, f"{path.suffix.lower()} by OpenSlide")
    for signature, what in WHAT_IT_IS.items():
        if head.startswith(signature) and not any(word in what for word in wanted.split(" or ")):
            return f"is {what}"
    return (
        f"cannot be read as {wanted} (damaged or truncated at {size} bytes):"
        f" {one_line(error)}; copy it again"
    )
