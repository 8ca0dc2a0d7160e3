"""Data Science Bowl 2018, stage1_train: `<id>/images/<id>.png`, `<id>/masks/*.png`.

One mask a nucleus, in order of its file name; any value but 0 is nucleus. A
mask of two parts stays one nucleus.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nucleipel.core.geometry import Box
from nucleipel.core.listing import first_names
from nucleipel.errors import ImageError
from nucleipel.io.annotations.objects import Mask, draw
from nucleipel.io.annotations.plausibility import assess_ids, require_plausible
from nucleipel.io.annotations.source import AnnotatedSource, ImportOptions, require_folder, shape_of
from nucleipel.io.slides.formats import open_image

log = logging.getLogger(__name__)


def read_dsb2018(source: Path, options: ImportOptions) -> Iterator[AnnotatedSource]:
    """Every image below `source` that has a folder of masks.

    Raises
    ------
    ImageError
        If there is none, or an image or mask cannot be read or does not fit.
    """
    require_folder(source)
    folders = sorted(path.parent for path in source.glob("*/masks"))
    if not folders:
        raise ImageError(f"{source}: expected folders <id>/images and <id>/masks; found none")
    without = [
        path.parent for path in sorted(source.glob("*/images")) if path.parent not in folders
    ]
    if without:
        log.warning(
            "%s: images without masks, left out: %d: %s",
            source, len(without), first_names(path.name for path in without),
        )  # fmt: skip
    for folder in folders:
        images = sorted((folder / "images").glob("*.png"))
        if len(images) != 1:
            raise ImageError(f"{folder}/images: holds {len(images)} PNGs; expected one")
        shape = shape_of(images[0])
        masks = [_read_mask(path, shape) for path in _mask_files(folder / "masks")]
        drawn = draw(masks, shape, min_area_px=options.min_area_px or 0)
        require_plausible(folder, assess_ids(drawn.instance_map))
        yield AnnotatedSource(folder.name, images[0], drawn, source_id=folder.name)


def _mask_files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in files:
        if path.suffix != ".png":
            raise ImageError(f"{path}: is no PNG; expected one PNG a nucleus in {folder.name}")
    return files


def _read_mask(path: Path, shape: tuple[int, int]) -> Mask:
    image = open_image(path)
    if image.shape != shape:
        raise ImageError(
            f"{path}: is {image.shape[0]} x {image.shape[1]} px, its image {shape[0]} x {shape[1]}"
            " px; they must be the same"
        )
    pixels = image.read(0, Box.of_shape(shape)).max(axis=2) > 0
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not len(rows):
        return Mask(0, 0, pixels[:0, :0])
    y0, x0 = int(rows[0]), int(columns[0])
    return Mask(y0, x0, pixels[y0 : rows[-1] + 1, x0 : columns[-1] + 1])
