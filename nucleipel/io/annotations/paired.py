"""Folders of images and of label images of the same names; StarDist's layout of them.

`images/` and `labels/` (or `masks/`), or one folder where `a.png` goes with
`a_masks.png` (or another of `pairing.LABEL_ENDINGS`). Labels are integer PNG, TIFF or npy;
floats without a fraction are taken. An id in several pieces stays one nucleus.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.annotations.objects import Drawn, drawn_ids
from nucleipel.io.annotations.pairing import (
    by_stem,
    images_below,
    is_label,
    label_files,
    pair_labels,
)
from nucleipel.io.annotations.plausibility import (
    assess_ids,
    gray_reader,
    require_plausible,
    split_pieces,
)
from nucleipel.io.annotations.source import (
    AnnotatedSource,
    ImportOptions,
    integral,
    require_file,
    require_folder,
)
from nucleipel.io.slides.formats import open_image
from nucleipel.io.slides.formats.stored_image import one_line
from nucleipel.io.slides.formats.suffixes import is_image

LABEL_FOLDERS = ("labels", "masks")


def read_labels(source: Path, options: ImportOptions) -> Iterator[AnnotatedSource]:
    """Every labeled image of a folder.

    Raises
    ------
    ImageError
        If there is none, a label has no image, is no instance map, or is of
        another size than its image.
    """
    require_folder(source)
    yield from _read_pairs(_pairs(source, options), options, split="")


def read_stardist(source: Path, options: ImportOptions) -> Iterator[AnnotatedSource]:
    """StarDist's dsb2018: `train` and `test`, each with `images` and `masks`; errors as above."""
    require_folder(source)
    splits = [split for split in ("train", "val", "test") if (source / split).is_dir()]
    if not splits:
        raise ImageError(f"{source}: holds neither train nor test; expected StarDist's layout")
    for split in splits:
        yield from _read_pairs(_pairs(source / split, options), options, split=split)


def _pairs(folder: Path, options: ImportOptions) -> list[tuple[str, Path, Path]]:
    """(id, image, label) of every label."""
    below = next((folder / name for name in LABEL_FOLDERS if (folder / name).is_dir()), None)
    if below is not None:
        labels, images = label_files(below), images_below(options.images or folder / "images")
    else:
        files = label_files(folder)
        labels = [path for path in files if is_label(path)]
        pictures = (path for path in files if is_image(path) and not is_label(path))
        images = images_below(options.images) if options.images else by_stem(pictures)
    if not labels:
        raise ImageError(
            f"{folder}: holds no labels; expected folders images and labels (or masks), or files"
            f" NAME_masks.png beside NAME.png"
        )
    return pair_labels(labels, images, folder)


def _read_pairs(
    pairs: list[tuple[str, Path, Path]], options: ImportOptions, *, split: str
) -> Iterator[AnnotatedSource]:
    for name, image, label in pairs:
        nuclei = _read_nuclei(label, image, options)
        yield AnnotatedSource(name, image, nuclei, source_id=name, split=split)


def _read_nuclei(label: Path, image: Path, options: ImportOptions) -> Drawn:
    ids, pixels = _read_ids(label), open_image(image, series=options.series)
    try:
        if ids.shape != pixels.shape:
            raise ImageError(
                f"{label}: the label is {ids.shape[0]} x {ids.shape[1]} px, its image"
                f" {pixels.shape[0]} x {pixels.shape[1]} px; they must be the same"
            )
        assessed = assess_ids(ids, image=gray_reader(pixels))
    finally:
        pixels.close()
    if assessed.splits and options.split_pieces:
        ids = split_pieces(ids)
        assessed = assess_ids(ids)
    require_plausible(label, assessed)
    return drawn_ids(ids, min_area_px=options.min_area_px or 0)


def _read_ids(path: Path) -> npt.NDArray[np.int64]:
    if path.suffix.lower() == ".npy":
        require_file(path)
        try:
            ids = np.load(path, allow_pickle=False)
        except Exception as error:  # a Cellpose _seg.npy is a pickle, say
            raise ImageError(
                f"{path}: cannot be read as a plain array: {one_line(error)}; save the label alone"
            ) from error
    else:
        image = open_image(path, ids=True)
        if len(image.channels) != 1 or "JPEG" in image.container:
            image.close()
            what = "is in color" if len(image.channels) != 1 else "is a JPEG, which changes ids"
            raise ImageError(f"{path}: {what}; expected one channel of ids in a PNG or TIFF")
        ids = image.read(0, Box.of_shape(image.shape))[..., 0]
        image.close()
    if ids.ndim != 2:
        raise ImageError(f"{path}: has {ids.ndim} axes; expected (height, width)")
    return integral(path, ids)
