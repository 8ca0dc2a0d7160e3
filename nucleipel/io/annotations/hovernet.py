"""HoVer-Net's .mat files (CoNSeP, Kumar, CPM): `inst_map` (H, W), with the image of their name."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nucleipel.errors import ImageError
from nucleipel.io.annotations.objects import drawn_ids
from nucleipel.io.annotations.pairing import files_below, images_below, pair_files
from nucleipel.io.annotations.plausibility import assess_ids, require_plausible
from nucleipel.io.annotations.source import (
    AnnotatedSource,
    ImportOptions,
    integral,
    require_folder,
    shape_of,
)
from nucleipel.io.slides.formats.stored_image import one_line


def read_hovernet(source: Path, options: ImportOptions) -> Iterator[AnnotatedSource]:
    """Every .mat below `source`.

    Raises
    ------
    ImageError
        If there is none, one has no `inst_map`, or an image is missing or of
        another size.
    """
    require_folder(source)
    files = files_below(source, ".mat")
    if not files:
        raise ImageError(f"{source}: holds no .mat; expected one an image")
    images = images_below(options.images or source)
    for path, image in pair_files(files, images, source):
        ids, shape = _read_ids(path), shape_of(image, options.series)
        if ids.shape != shape:
            raise ImageError(
                f"{path}: inst_map is {ids.shape[0]} x {ids.shape[1]} px, its image {shape[0]} x"
                f" {shape[1]} px; they must be the same"
            )
        require_plausible(path, assess_ids(ids))
        drawn = drawn_ids(ids, min_area_px=options.min_area_px or 0)
        yield AnnotatedSource(path.stem, image, drawn, source_id=path.stem)


def _read_ids(path: Path) -> npt.NDArray[np.int64]:
    from scipy.io import loadmat

    try:
        ids = loadmat(path, variable_names=["inst_map"]).get("inst_map")
    except NotImplementedError as error:
        raise ImageError(f"{path}: is MATLAB 7.3 (HDF5); save it with -v7") from error
    except Exception as error:
        raise ImageError(f"{path}: cannot be read as .mat: {one_line(error)}") from error
    if ids is None or ids.ndim != 2:
        raise ImageError(f"{path}: holds no inst_map of two axes; expected HoVer-Net's .mat")
    return integral(path, ids)
