"""Save images in memory with corrected labels as training data: files, and a row of a manifest."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nucleipel.errors import ArgumentError
from nucleipel.io.annotations.polygons import Polygons
from nucleipel.io.annotations.region import write_region
from nucleipel.io.csv_table import read_table, write_table
from nucleipel.io.manifest import names_a_folder
from nucleipel.io.slides.write_slide import write_annotation, write_slide
from nucleipel.stages.files.import_annotations import MANIFEST


def save_training_data(
    folder: Path,
    name: str,
    image: npt.NDArray[np.generic],
    labels: npt.NDArray[np.integer],
    *,
    mpp: float | None,
    regions: Sequence[npt.NDArray[np.float64]] | None = None,
    split: str = "train",
) -> Path:
    """Write one image into a folder, and its row into the folder's manifest; return that.

    An image of the same name is replaced, so that corrections can be saved again.

    Parameters
    ----------
    folder : Path
        It is made if need be.
    name : str
        Names the files, and is the row's id and source.
    image : (H, W) or (H, W, 3) uint8 or uint16
    labels : (H, W) integer
        Instance ids, 0 for background.
    mpp : float or None
        Um per pixel.
    regions : list of (n, 2) float, optional
        Corners (y, x) of the polygons in which all nuclei are labeled; without them all of the
        image is.
    split : str
        "train", "val" or "test".

    Raises
    ------
    ArgumentError
        If shapes or types do not fit, there is no label at all and no region, or the name cannot
        name a file.
    """
    _require(name, image, labels, regions)
    row = {
        "image": f"images/{name}.ome.tif",
        "label": f"labels/{name}.tif",
        "split": split,
        "source_id": name,
        "mpp": f"{mpp:g}" if mpp else "",
        "id": name,
        "region": f"regions/{name}.geojson" if regions else "",
    }
    for kind in ("images", "labels", "regions"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    write_slide(folder / row["image"], image, mpp=mpp)
    write_annotation(folder / row["label"], labels.astype(np.uint32))
    if regions:
        write_region(folder / row["region"], Polygons.of_outlines([[[ring]] for ring in regions]))
    others = [old for old in _rows(folder / MANIFEST) if old.get("id") != name]
    columns = dict.fromkeys(column for some in (*others, row) for column in some)
    write_table(folder / MANIFEST, [*others, row], columns=list(columns))
    return folder / MANIFEST


def _rows(path: Path) -> list[dict[str, str]]:
    return read_table(path) if path.is_file() else []


def _require(
    name: str,
    image: npt.NDArray[np.generic],
    labels: npt.NDArray[np.integer],
    regions: Sequence[npt.NDArray[np.float64]] | None,
) -> None:
    if not names_a_folder(name):
        raise ArgumentError(f"'{name}' cannot name a file; rename the layer")
    if image.dtype not in (np.uint8, np.uint16):
        raise ArgumentError(f"{name}: pixels are {image.dtype}; convert them to uint8 or uint16")
    if labels.shape != image.shape[:2]:
        raise ArgumentError(
            f"{name}: labels are {labels.shape[0]} x {labels.shape[1]} px, the image is"
            f" {image.shape[0]} x {image.shape[1]}; choose labels of this image"
        )
    if not regions and not labels.any():
        raise ArgumentError(
            f"{name}: no nucleus is labeled; draw a region if there is truly none in it"
        )
