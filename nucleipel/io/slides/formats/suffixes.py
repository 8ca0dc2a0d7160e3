"""The one list of what is an image: endings of names, and marks in a file or a folder.

Whatever lists images uses it. An ending goes before content; a file with
an ending that is not listed, or with none (a link into a store of data), is known by
its first bytes.
"""

from pathlib import Path

TIFF_SUFFIXES = (
    ".tif", ".tiff", ".btf", ".tf2", ".tf8", ".gtif", ".gtiff", ".svs", ".ndpi", ".qptiff",
)  # fmt: skip
RASTER_SUFFIXES = (".png", ".jpg", ".jpeg")
OPENSLIDE_SUFFIXES = (".mrxs", ".scn", ".bif", ".svslide")
DICOM_SUFFIXES = (".dcm", ".dicom")
CZI_SUFFIX = ".czi"
ZARR_SUFFIX = ".zarr"
KINDS = {
    **dict.fromkeys(TIFF_SUFFIXES, "tiff"),
    **dict.fromkeys(RASTER_SUFFIXES, "raster"),
    **dict.fromkeys(OPENSLIDE_SUFFIXES, "openslide"),
    **dict.fromkeys(DICOM_SUFFIXES, "dicom"),
    CZI_SUFFIX: "czi",
}
IMAGE_SUFFIXES = frozenset({*KINDS, ZARR_SUFFIX})
SIGNATURES = {
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"\x89PNG": "raster",
    b"\xff\xd8\xff": "raster",
    b"ZISRAWFILE": "czi",
}
DICOM_MARK, DICOM_MARK_AT = b"DICM", 128
ZARR_METADATA = ("zarr.json", ".zgroup", ".zarray")
"""Each folder of a zarr hierarchy holds one of them."""


def kind_of_image(path: Path) -> str | None:
    """The kind of image at a path that exists ("tiff", "zarr", ...); None if it is none."""
    suffix = path.suffix.lower()
    if path.is_dir():
        if suffix == ZARR_SUFFIX or is_zarr(path):
            return "zarr"
        return "dicom" if is_dicom_folder(path) else None
    return None if suffix == ZARR_SUFFIX else KINDS.get(suffix) or _kind_of_content(path)


def _kind_of_content(path: Path) -> str | None:
    with path.open("rb") as stream:
        head = stream.read(DICOM_MARK_AT + len(DICOM_MARK))
    if head[DICOM_MARK_AT:] == DICOM_MARK:
        return "dicom"
    return next((kind for mark, kind in SIGNATURES.items() if head.startswith(mark)), None)


def is_zarr(path: Path) -> bool:
    """Return whether a path is a folder that holds zarr's metadata, whatever its name."""
    return any((path / name).is_file() for name in ZARR_METADATA)


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM by its name, or, without a suffix, by its content."""
    if path.name.startswith(".") or path.name == "DICOMDIR" or not path.is_file():
        return False
    suffix = path.suffix.lower()
    # names are often UIDs, of which the last number could be a suffix
    plain = suffix == "" or suffix[1:].isdecimal()
    return suffix in DICOM_SUFFIXES or (plain and _kind_of_content(path) == "dicom")


def is_dicom_folder(path: Path) -> bool:
    """Return whether a folder holds DICOM files and no others: the files of a slide."""
    if not path.is_dir():
        return False
    shown = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    files = [entry for entry in shown if entry.name != "DICOMDIR"]
    return bool(files) and all(map(is_dicom, files))


def is_image(path: Path) -> bool:
    """Return whether a path is an image by name, or a folder of zarr or DICOM; not if hidden."""
    if path.name.startswith("."):
        return False
    return path.suffix.lower() in IMAGE_SUFFIXES or is_zarr(path) or is_dicom_folder(path)


def expected_suffixes() -> str:
    """The endings of images, for messages."""
    return " ".join(sorted(IMAGE_SUFFIXES))
