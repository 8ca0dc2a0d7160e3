"""PanNuke: `images.npy` (N, H, W, 3) and `masks.npy` (N, H, W, 5 + 1) a fold.

The first five channels hold the ids of five classes, which are not kept apart
here; the last is the background and is not read. The images have no files of
their own: their pixels are handed on.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.errors import ImageError
from nucleipel.io.annotations.objects import Drawn, Mask, draw
from nucleipel.io.annotations.pairing import files_below
from nucleipel.io.annotations.plausibility import assess_ids, require_plausible
from nucleipel.io.annotations.source import (
    AnnotatedSource,
    ImportOptions,
    integral,
    require_folder,
)
from nucleipel.io.slides.formats.stored_image import one_line

CLASSES = 5


def read_pannuke(source: Path, options: ImportOptions) -> Iterator[AnnotatedSource]:
    """Every fold at or below `source`.

    Raises
    ------
    ImageError
        If there is none, or its arrays are damaged, of another form, or hold
        pickled objects.
    """
    require_folder(source)
    files = [path for path in files_below(source, ".npy") if path.name == "masks.npy"]
    if not files:
        raise ImageError(f"{source}: holds no masks.npy; expected a fold of PanNuke")
    for path in files:
        images, masks = _images_of(source, path), _load(path)
        fits = images.ndim == masks.ndim == 4 and images.shape[:3] == masks.shape[:3]
        if not fits or images.shape[3] != 3 or masks.shape[3] != CLASSES + 1:
            raise ImageError(
                f"{path}: images {images.shape}, masks {masks.shape}; expected (N, H, W, 3) and"
                f" (N, H, W, {CLASSES + 1})"
            )
        folder = path.parent.relative_to(source).as_posix().replace("/", "-")
        fold = folder.removeprefix("masks-").strip(".") or source.name
        for index in range(len(images)):
            name = f"{fold}-{index:05d}"
            pixels = integral(path, images[index])
            if pixels.max(initial=0) > 255:
                raise ImageError(f"{path}: image {index} holds values over 255; expected 0 to 255")
            drawn = _draw(integral(path, masks[index][..., :CLASSES]), options)
            require_plausible(path / str(index), assess_ids(drawn.instance_map))
            yield AnnotatedSource(name, pixels.astype(np.uint8), drawn, source_id=name)


def _images_of(source: Path, masks: Path) -> npt.NDArray[Any]:
    """`images.npy` in the same folder, or in the folder whose path says images for masks."""
    parts = masks.relative_to(source).parent.parts
    paired = source.joinpath(*("images" if part == "masks" else part for part in parts))
    for folder in (masks.parent, paired):
        if (folder / "images.npy").is_file():
            return _load(folder / "images.npy")
    raise ImageError(f"{masks}: no images.npy in its folder or in {paired}")


def _load(path: Path) -> npt.NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise ImageError(f"{path}: cannot be read as npy: {one_line(error)}") from error


def _draw(ids: npt.NDArray[np.int64], options: ImportOptions) -> Drawn:
    masks = [
        Mask(0, 0, ids[..., kind] == value)
        for kind in range(CLASSES)
        for value in np.unique(ids[..., kind])
        if value
    ]
    return draw(masks, (ids.shape[0], ids.shape[1]), min_area_px=options.min_area_px or 0)
