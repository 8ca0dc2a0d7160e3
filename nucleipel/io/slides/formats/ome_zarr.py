"""OME-Zarr (NGFF) 0.4, on zarr v2, and 0.5, on zarr v3: an image, or what holds images.

A chunk without a file holds the array's fill value: that is the format's rule
for empty regions, so it is no sign of damage.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.channels import name_channels
from nucleipel.io.slides.formats.ome_zarr_images import find_images, ome_attributes
from nucleipel.io.slides.formats.pixel_size import PixelSizes, stated_size
from nucleipel.io.slides.formats.series import choose_series
from nucleipel.io.slides.formats.stored_image import (
    GRAY,
    RGB,
    Level,
    Pixels,
    SourceFrame,
    StoredImage,
    downsample_of,
)

RGB_COLORS = ("FF0000", "00FF00", "0000FF")


def open_ome_zarr(path: Path, *, series: int | str | None = None, ids: bool = False) -> StoredImage:
    """Open an OME-Zarr folder; parameters and errors as `open_image`."""
    held = find_images(path)
    chosen = choose_series(path, [image.series for image in held], series)
    group, image = held[chosen].group, held[chosen].multiscale()
    attributes = ome_attributes(group)
    axes = [axis["name"] if isinstance(axis, dict) else axis for axis in image.get("axes", ())]
    arrays: list[Any] = [group[dataset["path"]] for dataset in image["datasets"]]
    _require_one_plane(path, axes, arrays[0].shape)
    channels, meaning = _channels(axes, arrays[0], attributes.get("omero", {}))
    shapes = [(array.shape[axes.index("y")], array.shape[axes.index("x")]) for array in arrays]
    version = attributes.get("version") or image.get("version", "of no stated version")
    chunks = [arrays[0].chunks[axes.index(axis)] for axis in "yx"]
    sizes, place = _place(image, axes)
    return StoredImage(
        path=path,
        container=f"OME-Zarr {version}, chunks of {chunks[0]} x {chunks[1]} px",
        levels=tuple(
            Level(shape, downsample_of(shape, shapes[0]), _loader(array, axes))
            for array, shape in zip(arrays, shapes, strict=True)
        ),
        dtype=np.dtype(arrays[0].dtype).newbyteorder("="),
        channels=channels,
        photometric=meaning,
        pixel_sizes=sizes,
        series=tuple(one.series for one in held),
        source=replace(place, series=chosen),
    )


def _require_one_plane(path: Path, axes: list[str], shape: tuple[int, ...]) -> None:
    if len(axes) != len(shape) or not {"y", "x"} <= set(axes):
        raise ImageError(f"{path}: axes {axes} for shape {shape}; expected y and x among them")
    for axis, length in zip(axes, shape, strict=True):
        if axis not in "cyx" and length > 1:
            raise ImageError(f"{path}: {length} planes along axis '{axis}'; export one plane")
    if 0 in shape:
        raise ImageError(f"{path}: holds no image of at least 1 x 1 px; copy it again")


def _channels(axes: list[str], array: Any, omero: dict[str, Any]) -> tuple[tuple[str, ...], str]:
    count = array.shape[axes.index("c")] if "c" in axes else 1
    if count == 1:
        return GRAY, "gray"
    shown = omero.get("channels") or []
    labels = [str(channel.get("label", "")) for channel in shown]
    names = name_channels(labels, count)
    if names == RGB:
        return RGB, "RGB"
    if count == 3 and array.dtype == np.uint8 and all(map(_is_plain, labels, range(3))):
        colors = tuple(str(channel.get("color") or "").upper() for channel in shown)
        if colors == RGB_COLORS:
            return RGB, "RGB"
        if not any(colors):
            return RGB, "three unnamed channels of 8 bit, taken as RGB"
    return names, "channels of gray"


def _is_plain(label: str, index: int) -> bool:
    """Return whether a label says no more than a channel's index, as programs fill it in."""
    plain = label.casefold()
    return plain in ("", f"{index}", f"channel {index}", f"channel_{index}", f"channel:0:{index}")


def _place(image: dict[str, Any], axes: list[str]) -> tuple[PixelSizes, SourceFrame]:
    """The size of a pixel of level 0, and where the first one lies."""
    units = [axis.get("unit") if isinstance(axis, dict) else None for axis in image["axes"]]
    indices = {axis: axes.index(axis) for axis in "yx"}
    (y, y0), (x, x0) = (_scale_and_translation(image, indices[axis]) for axis in "yx")
    unit = {axis: str(units[index] or "") for axis, index in indices.items()}
    place = SourceFrame(
        translation_px=(y0 / y if y else 0.0, x0 / x if x else 0.0), scale=(y, x), unit=unit["x"]
    )
    if not any(unit.values()) and y == x == 1:  # pixels, plainly
        return PixelSizes(), place
    return stated_size(y, x, (unit["y"], unit["x"]), where="OME-Zarr scale"), place


def _scale_and_translation(image: dict[str, Any], index: int) -> tuple[float, float]:
    """Along an axis, (a, b) of a x + b: from pixels of level 0 to the image's own space."""
    scale, translation = 1.0, 0.0
    for part in (image["datasets"][0], image):
        for transform in part.get("coordinateTransformations") or []:
            if transform.get("type") == "scale":
                factor = float(transform["scale"][index])
                scale, translation = scale * factor, translation * factor
            elif transform.get("type") == "translation":
                translation += float(transform["translation"][index])
    return scale, translation


def _loader(array: Any, axes: list[str]) -> Callable[[Box], Pixels]:
    def load(box: Box) -> Pixels:
        wanted = {"y": slice(box.y0, box.y1), "x": slice(box.x0, box.x1), "c": slice(None)}
        pixels = np.asarray(array[tuple(wanted.get(axis, 0) for axis in axes)])
        kept = [axis for axis in axes if axis in wanted]
        order = [kept.index(axis) for axis in ("y", "x", "c") if axis in kept]
        return pixels.transpose(order).reshape(*box.shape, -1)

    return load
