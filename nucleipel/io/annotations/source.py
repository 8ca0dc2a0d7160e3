"""What every format gives, and how annotations find their images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.errors import ImageError
from nucleipel.io.annotations.objects import Drawn
from nucleipel.io.slides.formats import open_image
from nucleipel.io.slides.formats.suffixes import expected_suffixes, iter_images
from nucleipel.io.slides.slide import image_stem


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user says beside the source: where images lie, what is left out, what is split.

    `min_area_px` None means the format's own rule.
    """

    images: Path | None = None
    min_area_px: int | None = None
    split_pieces: bool = False


@dataclass(frozen=True, slots=True)
class AnnotatedSource:
    """One image with its nuclei.

    Parameters
    ----------
    id : str
        Names the label file.
    image : Path or (H, W, 3) uint8
        Where the image lies; its pixels where the source keeps no image file.
    drawn : Drawn
        The instance map, (H, W) uint32, and what happened on the way to it.
    source_id : str
        Patient, slide or field of view.
    split : str
        Split of the source, "" where it has none.
    mpp : float, optional
        What the annotation says.
    """

    id: str
    image: Path | npt.NDArray[np.uint8]
    drawn: Drawn
    source_id: str
    split: str = ""
    mpp: float | None = None


def require_folder(source: Path) -> None:
    """Check that a source is a folder.

    Raises
    ------
    ImageError
        If it is not.
    """
    if not source.is_dir():
        raise ImageError(f"{source}: no such folder; check the path")


def files_below(folder: Path, *endings: str) -> list[Path]:
    """The regular files at or below a folder whose names end so, in order; never a pipe."""
    return sorted(p for p in folder.rglob("*") if p.name.endswith(endings) and p.is_file())


def require_file(path: Path) -> None:
    """Check that a path is a regular file: a pipe would be waited on for ever.

    Raises
    ------
    ImageError
        If it is not.
    """
    if not path.is_file():
        kind = "is no regular file" if path.exists() else "no such file"
        raise ImageError(f"{path}: {kind}; check the path")


def shape_of(image: Path) -> tuple[int, int]:
    """(height, width) of an image file; errors as `open_image`."""
    opened = open_image(image)
    opened.close()
    return opened.shape


def images_below(folder: Path) -> dict[str, Path]:
    """Every image at or below a folder by its stem.

    Raises
    ------
    ImageError
        If there is none, or two have the same stem.
    """
    require_folder(folder)
    found: dict[str, Path] = {}
    for path in iter_images(folder):
        stem = image_stem(path)
        if stem in found:
            raise ImageError(
                f"{path}: another image of that name is {found[stem]}; import one folder at a time"
            )
        found[stem] = path
    if not found:
        raise ImageError(f"{folder}: holds no image; expected {expected_suffixes()}")
    return found


def image_for(annotation: Path, images: dict[str, Path]) -> Path:
    """The image whose stem is the annotation's name, less one or more of its suffixes.

    Raises
    ------
    ImageError
        If there is none.
    """
    name = annotation.name
    while "." in name:
        name = name.rpartition(".")[0]
        if name in images:
            return images[name]
    raise ImageError(
        f"{annotation}: no image is named '{annotation.stem}'; put it beside, or give the folder"
        " with --images"
    )


def integral(path: Path, values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Ids as int64, from integers or from floats without a fraction.

    Raises
    ------
    ImageError
        If they are anything else, or negative.
    """
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or (values != np.rint(values)).any():
            raise ImageError(f"{path}: ids with fractions or NaN; expected whole numbers")
    elif values.dtype.kind not in "uib":
        raise ImageError(f"{path}: holds {values.dtype}; expected whole numbers")
    if values.size and values.min() < 0:
        raise ImageError(
            f"{path}: holds the negative id {values.min():g}; expected 0 for background"
        )
    return values.astype(np.int64)
