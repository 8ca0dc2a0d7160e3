"""Layers of napari from outputs of `segment` and `stitch`, and from slides."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nucleipel.api.results import SlideResult
from nucleipel.io.nuclei.read_output import (
    image_mpp,
    images_of_output,
    open_label_levels,
)
from nucleipel.io.slides.lazy_pyramid import lazy_pyramid

Layer = tuple[Any, dict[str, Any], str]
Reader = Callable[[Any], list[Layer]]

MOST_OUTLINES = 5_000
"""napari draws no more polygons at a usable speed; a map with more gets none."""
EDITABLE_PX = 2**26
"""A map of at most so many pixels is read into memory, where labels can be corrected."""


def get_output_reader(path: Any) -> Reader | None:
    """Give a reader for an output folder, or for one image's folder in it; None for others."""
    return read_output if isinstance(path, str) and images_of_output(Path(path)) else None


def get_slide_reader(path: Any) -> Reader | None:
    """Give a reader for one slide."""
    return read_slide if isinstance(path, str) else None


def read_output(path: str) -> list[Layer]:
    """Labels, outlines and cells of all images of an output, with the nuclei's measurements."""
    return [layer for result in images_of_output(Path(path)) for layer in _of_image(*result)]


def read_slide(path: str) -> list[Layer]:
    """A slide as an image layer that is read region by region, coarser levels included."""
    levels, mpp, color = lazy_pyramid(Path(path))
    about: dict[str, Any] = {"name": Path(path).stem, "multiscale": True, "rgb": color}
    if not color:
        about["channel_axis"] = 2
        about["name"] = None
    return [(levels, {**about, **_scale(mpp)}, "image")]


def _of_image(out: Path, image_id: str) -> list[Layer]:
    result = SlideResult(out, image_id)
    levels, mpp = open_label_levels(result.folder), image_mpp(result.folder)
    nuclei = result.nuclei
    measured = nuclei.drop(columns="geometry")
    features = measured.rename(columns={"id": "index"})
    height, width = levels[0].shape
    editable = height * width <= EDITABLE_PX
    about = {"name": f"{image_id} nuclei", "features": features, **_scale(mpp)}
    layers: list[Layer] = [
        (levels[0][:] if editable else levels, {**about, "multiscale": not editable}, "labels")
    ]
    if 0 < len(nuclei) <= MOST_OUTLINES:
        layers.append((_outlines(nuclei), {**_outline_look(image_id, measured, mpp)}, "shapes"))
    if result.cells is not None:
        cells = open_label_levels(result.folder, of="cells")
        look = {"name": f"{image_id} cells", "visible": False, "multiscale": True, **_scale(mpp)}
        layers.append((cells, look, "labels"))
    return layers


def _outlines(nuclei: Any) -> list[Any]:
    """Outer rings as (n, 2) arrays of (y, x); pixel centers are napari's whole numbers."""
    rings = [
        max(getattr(shape, "geoms", [shape]), key=lambda part: part.area).exterior.coords
        for shape in nuclei.geometry
    ]
    import numpy as np

    return [np.asarray(ring)[:-1, ::-1] - 0.5 for ring in rings]


def _outline_look(image_id: str, measured: Any, mpp: float | None) -> dict[str, Any]:
    return {
        "name": f"{image_id} outlines",
        "shape_type": "polygon",
        "features": measured,
        "face_color": "transparent",
        "edge_color": "yellow",
        "edge_width": 1,
        "visible": False,
        **_scale(mpp),
    }


def _scale(mpp: float | None) -> dict[str, Any]:
    return {} if mpp is None else {"scale": (mpp, mpp), "units": ("um", "um")}
