"""Which annotation belongs to which image, by the names of files; an image has one.

Names are compared in one form of Unicode (NFC), since macOS and Windows spell an
accent differently. Hidden files, and what an output of nucleipel holds, are no
part of a source. Images without an annotation are counted and named.
"""

import logging
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from nucleipel.core.listing import first_names
from nucleipel.errors import ImageError
from nucleipel.io.records.output import RECORD
from nucleipel.io.slides.formats.suffixes import expected_suffixes, is_image
from nucleipel.io.slides.slide import image_stem

log = logging.getLogger(__name__)

WORDS = (
    "cp_masks", "masks", "mask", "labels", "label", "labelled", "labeled", "instances", "instance",
    "segmentation", "seg",
)  # fmt: skip
LABEL_ENDINGS = tuple(f"{mark}{word}" for word in WORDS for mark in "_-")
"""What the names of labels have after the name of their image, the longest first."""
CELLPOSE_ENDING = "_seg.npy"


def images_below(folder: Path) -> dict[str, Path]:
    """Every image at or below a folder by its stem, in NFC.

    Raises
    ------
    ImageError
        If there is none, or two have the same stem.
    """
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder; check the path")
    images = by_stem(path for path in walk(folder) if is_image(path))
    if not images:
        raise ImageError(f"{folder}: holds no image; expected {expected_suffixes()}")
    return images


def by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Images by their stem, in NFC; an ImageError where two have the same."""
    images: dict[str, Path] = {}
    for path in paths:
        stem = _plain(image_stem(path))
        if stem in images:
            raise ImageError(
                f"{path}: another image of that name is {images[stem]}; import one folder at a time"
            )
        images[stem] = path
    return images


def files_below(folder: Path, *endings: str) -> list[Path]:
    """The regular files at or below a folder whose names end so, in order; never a pipe."""
    return [p for p in walk(folder) if p.name.lower().endswith(endings) and p.is_file()]


def walk(folder: Path) -> Iterator[Path]:
    """Every file at or below a folder, in order; a zarr or DICOM folder is one of them.

    Hidden files and folders, outputs of nucleipel, and links that lead back up are left out.
    """
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if not entry.is_dir() or is_image(entry):
            yield entry
        elif not (entry / RECORD).is_file() and not _leads_up(entry):
            yield from walk(entry)


def _leads_up(folder: Path) -> bool:
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def label_files(folder: Path) -> list[Path]:
    """The files of a folder that may be labels: images and arrays, JPEGs to be refused."""
    shown = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in shown if is_image(path) or path.suffix.lower() == ".npy")


def is_label(path: Path) -> bool:
    """Return whether a name ends as those of labels do."""
    return image_stem(path).lower().endswith(LABEL_ENDINGS)


def pair_files(
    files: Sequence[Path], images: Mapping[str, Path], source: Path
) -> list[tuple[Path, Path]]:
    """(annotation, image) of every file, whose name begins with the image's stem and a dot.

    Raises
    ------
    ImageError
        If a file has no image, or an image has two files.
    """
    pairs: dict[str, Path] = {}
    for path in files:
        name = _plain(path.name)
        while "." in name and (name := name.rpartition(".")[0]) not in images:
            pass
        if name not in images:
            raise ImageError(
                f"{path}: no image is named '{path.stem}'; put it in the same folder,"
                " or name its folder with --images"
            )
        _add(pairs, name, path, images)
    if source.is_dir():
        _report_without(source, pairs, images)
    return [(path, images[name]) for name, path in pairs.items()]


def pair_labels(
    labels: Sequence[Path], images: Mapping[str, Path], source: Path
) -> list[tuple[str, Path, Path]]:
    """(id, image, label) of every label, named as its image or with one of `LABEL_ENDINGS`.

    Files of Cellpose (`_seg.npy`), which are pickles, are left out beside a label.

    Raises
    ------
    ImageError
        If a label has no image, an image has two labels, or only such a file.
    """
    pairs: dict[str, Path] = {}
    pickles: dict[str, Path] = {}
    for label in labels:
        stem = _plain(image_stem(label))
        shorter = [stem[: -len(end)] for end in LABEL_ENDINGS if stem.lower().endswith(end)]
        name = next((name for name in [stem, *shorter] if name in images), None)
        if name is None:
            missing = (shorter or [stem])[0]
            raise ImageError(f"{label}: no image is named '{missing}'; mend the names")
        _add(pickles if _is_pickle(label) else pairs, name, label, images)
    for name, label in pickles.items():
        if name not in pairs:
            cellpose = ": in Cellpose from its File menu, or with --save_tif"
            raise ImageError(
                f"{label}: is a pickle, which can run code as it is read; save the masks alone as"
                f" PNG or TIFF{cellpose if label.name.endswith(CELLPOSE_ENDING) else ''}"
            )
    if pickles:
        log.info("%s: %d *%s beside masks are left out", source, len(pickles), CELLPOSE_ENDING)
    _report_without(source, pairs, images)
    return [(name, images[name], pairs[name]) for name in sorted(pairs)]


def _add(pairs: dict[str, Path], name: str, path: Path, images: Mapping[str, Path]) -> None:
    if name in pairs:
        raise ImageError(
            f"{path}: {images[name].name} is annotated by {pairs[name].name}, too; take one away"
        )
    pairs[name] = path


def _report_without(source: Path, pairs: Iterable[str], images: Mapping[str, Path]) -> None:
    names = [path.name for name, path in sorted(images.items()) if name not in set(pairs)]
    if names:
        log.warning(
            "%s: images without annotation, left out: %d: %s",
            source, len(names), first_names(names),
        )  # fmt: skip


def _is_pickle(path: Path) -> bool:
    """Return whether a .npy file holds Python objects."""
    if path.suffix.lower() != ".npy" or not path.is_file():
        return False
    try:
        return bool(np.load(path, mmap_mode="r", allow_pickle=False).dtype.hasobject)
    except ValueError as error:
        return "allow_pickle" in str(error) or "objects" in str(error)
    except Exception:  # damaged: whoever reads it says so
        return False


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)
