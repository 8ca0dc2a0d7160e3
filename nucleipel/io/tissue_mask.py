"""The tissue mask of a slide: found on a low level of it, or read from a file.

A file is a GeoJSON of outlines in pixels of level 0, or a TIFF or PNG of the
slide's shape or smaller, in which anything but 0 is tissue. For several slides
it is a folder of them, `<id>.geojson`, `<id>.tif` or `<id>.png`.
"""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from nucleipel.core.accents import existing_path
from nucleipel.core.geometry import Box
from nucleipel.core.glass_cores import Tissue
from nucleipel.errors import ImageError
from nucleipel.io.annotations.annotation import Annotation
from nucleipel.io.annotations.qupath import read_outlines
from nucleipel.io.records.fingerprint import fingerprint
from nucleipel.io.slides.formats import StoredImage, open_image
from nucleipel.io.slides.slide import Slide
from nucleipel.io.slides.slide_tissue import cell_px

AUTO, OFF = "auto", "off"
SMALLEST_SLIDE_PX = 2048
"""Smaller images are predicted whole: there is little to gain."""
ROWS_AT_A_TIME = 256
AT_A_TIME_CELLS = 64
FILE_SUFFIXES = (".geojson", ".tif", ".tiff", ".png")


def tissue_of(slide: Slide, setting: str, *, image_id: str) -> Tissue | None:
    """The mask of a slide as `setting`: "auto", "off", or a path; None where all is predicted.

    Raises
    ------
    ImageError
        If a mask cannot be read or does not fit the slide.
    """
    if setting == OFF or (setting == AUTO and max(slide.shape) < SMALLEST_SLIDE_PX):
        return None
    if setting == AUTO:
        return slide.tissue().tissue
    step = cell_px(slide)
    path = mask_file(Path(setting), image_id)
    origin: dict[str, str | int] = {"mask": path.name, "sha256": fingerprint(path)}
    drawn = path.suffix.lower() == ".geojson"
    mask = _of_outlines(path, slide, step) if drawn else _of_picture(path, slide, step)
    return Tissue(mask, step, origin)


def mask_of_region(slide: Slide, annotation: Annotation) -> Tissue:
    """Build the mask of a slide's region, as if nothing else of it were tissue."""
    step = cell_px(slide)
    height, width = slide.shape
    mask = np.zeros((-(-height // step), -(-width // step)), bool)
    cells = Box.of_shape((AT_A_TIME_CELLS, AT_A_TIME_CELLS))
    for piece in annotation.pieces(slide.resolution):
        for y in range(piece.y0 // step, -(-piece.y1 // step), AT_A_TIME_CELLS):
            for x in range(piece.x0 // step, -(-piece.x1 // step), AT_A_TIME_CELLS):
                part = cells.shift(y, x).clip(mask.shape)
                box = Box(*(step * edge for edge in (part.y0, part.x0, part.y1, part.x1)))
                counted = annotation.counted(box.clip(slide.shape), slide.resolution)
                if counted is not None:
                    edges = (np.arange(0, length, step) for length in counted.shape)
                    held = np.logical_or.reduceat(counted, next(edges), axis=0)
                    mask[part.slices] |= np.logical_or.reduceat(held, next(edges), axis=1)
    return Tissue(mask, step, {"mask": "region"})


def require_tissue_files(setting: str, image_ids: Iterable[str]) -> dict[str, str]:
    """Return what identifies the masks of the setting `tissue`, by content; empty without a file.

    Raises
    ------
    ImageError
        If one is missing, or is one file for several images.
    """
    if setting in (AUTO, OFF):
        return {}
    ids = list(image_ids)
    if len(ids) > 1 and not Path(setting).is_dir():
        raise ImageError(
            f"{setting}: one tissue mask for {len(ids)} images; give a folder that holds"
            f" <id>.geojson or <id>.tif for each"
        )
    return {"tissue": " ".join(fingerprint(mask_file(Path(setting), name)) for name in ids)}


def mask_file(setting: Path, image_id: str) -> Path:
    """The file of a mask: `setting` itself, or that of an image in the folder `setting`.

    Raises
    ------
    ImageError
        If there is none.
    """
    wanted = " or ".join(FILE_SUFFIXES)
    if setting.is_dir():
        for suffix in FILE_SUFFIXES:
            if (mask := existing_path(setting / f"{image_id}{suffix}")).is_file():
                return mask
        raise ImageError(f"{setting}: holds no tissue mask of '{image_id}'; expected {wanted}")
    if not setting.is_file():
        raise ImageError(
            f"{setting}: no such tissue mask; expected {AUTO}, {OFF}, or a file or folder of"
            f" {wanted}"
        )
    if setting.suffix.lower() not in FILE_SUFFIXES:
        raise ImageError(f"{setting}: a tissue mask is {wanted}")
    return setting


def _of_outlines(path: Path, slide: Slide, step: int) -> npt.NDArray[np.bool_]:
    """All mask pixels that outlines touch; holes are left out."""
    height, width = (-(-length // step) for length in slide.shape)
    ratio = slide.resolution.ratio * step
    mask = np.zeros((height, width), np.uint8)
    for rings in read_outlines(path, slide.image.shape):
        fine = [np.floor(ring[:, ::-1] / ratio).astype(np.int32) for ring in rings]
        cv2.fillPoly(mask, fine, 1)
    return mask > 0


def _of_picture(path: Path, slide: Slide, step: int) -> npt.NDArray[np.bool_]:
    """All mask pixels in which a picture of the whole slide has anything but 0."""
    picture = open_image(path)
    try:
        scale = _scale_of(path, picture, slide)
        height, width = (-(-length // step) for length in slide.shape)
        rows, columns = (
            np.minimum((np.arange(count) * step * scale).astype(int), length - 1)
            for count, length in zip((height, width), picture.shape, strict=True)
        )
        mask = np.empty((height, width), bool)
        for top in range(0, height, ROWS_AT_A_TIME):
            wanted = rows[top : top + ROWS_AT_A_TIME]
            last = rows[top + len(wanted)] if top + len(wanted) < height else picture.shape[0]
            band = Box(int(wanted[0]), 0, max(int(last), int(wanted[-1]) + 1), picture.shape[1])
            held = picture.read(0, band).any(axis=-1)
            held = np.logical_or.reduceat(held, columns, axis=1)
            mask[top : top + len(wanted)] = np.logical_or.reduceat(held, wanted - wanted[0], axis=0)
        return mask
    finally:
        picture.close()


def _scale_of(path: Path, picture: StoredImage, slide: Slide) -> float:
    """Pixels of the picture per working pixel, the same along both axes.

    Raises
    ------
    ImageError
        If they are not.
    """
    (height, width), source = picture.shape, slide.image.shape
    if abs(height - source[0] * width / source[1]) > 1 + source[0] / source[1]:
        raise ImageError(
            f"{path}: the tissue mask is {height} x {width} px, its slide {source[0]} x"
            f" {source[1]} px; expected the same, or a smaller picture of the whole slide"
        )
    return width / slide.shape[1]
