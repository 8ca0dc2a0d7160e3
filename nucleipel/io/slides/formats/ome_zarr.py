"""OME-Zarr (NGFF) 0.4, on zarr v2, and 0.5, on zarr v3: an image group, or one of bioformats2raw.

A chunk without a file holds the array's fill value: that is the format's rule
for empty regions, so it cannot tell damage.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.stored_image import (
    GRAY,
    RGB,
    Level,
    MppFound,
    Pixels,
    StoredImage,
    downsample_of,
)

UM_PER_UNIT = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "meter": 1e6}
RGB_COLORS = ("FF0000", "00FF00", "0000FF")


def open_ome_zarr(path: Path) -> StoredImage:
    """Open an OME-Zarr folder; errors as `open_image`."""
    import zarr

    group = zarr.open_group(path, mode="r")
    attributes = _ome_attributes(group)
    if "multiscales" not in attributes and "bioformats2raw.layout" in attributes:
        group = zarr.open_group(path / "0", mode="r")
        attributes = _ome_attributes(group)
    if not attributes.get("multiscales"):
        raise ImageError(f"{path}: holds no 'multiscales'; expected an OME-Zarr 0.4 or 0.5 image")
    image = attributes["multiscales"][0]
    axes = [axis["name"] if isinstance(axis, dict) else axis for axis in image.get("axes", ())]
    arrays: list[Any] = [group[dataset["path"]] for dataset in image["datasets"]]
    _require_one_plane(path, axes, arrays[0].shape)
    channels, meaning = _channels(axes, arrays[0], attributes.get("omero", {}))
    shapes = [(array.shape[axes.index("y")], array.shape[axes.index("x")]) for array in arrays]
    version = attributes.get("version") or image.get("version", "of no stated version")
    chunks = [arrays[0].chunks[axes.index(axis)] for axis in "yx"]
    return StoredImage(
        path=path,
        container=f"OME-Zarr {version}, chunks of {chunks[0]} x {chunks[1]} px",
        levels=tuple(
            Level(shape, downsample_of(shape, shapes[0]), _loader(array, axes))
            for array, shape in zip(arrays, shapes, strict=True)
        ),
        dtype=np.dtype(arrays[0].dtype),
        channels=channels,
        photometric=meaning,
        mpp_found=_mpp(image, axes),
    )


def _ome_attributes(group: Any) -> dict[str, Any]:
    attributes = dict(group.attrs)
    return attributes.get("ome", attributes)


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
    shown = omero.get("channels", [])
    if count == 3 and array.dtype == np.uint8:
        if not shown:
            return RGB, "three unnamed channels of 8 bit, taken as RGB"
        names = tuple(str(channel.get("label", "")).casefold() for channel in shown)
        colors = tuple(str(channel.get("color", "")).upper() for channel in shown)
        plain = all(name in ("", str(i), f"channel {i}", f"channel:0:{i}")
                    for i, name in enumerate(names))  # fmt: skip
        if names in (RGB, ("r", "g", "b")) or (colors == RGB_COLORS and plain):
            return RGB, "RGB"
    labels = [str(channel.get("label", "")) for channel in shown][:count]
    labels += [""] * (count - len(labels))
    return tuple(label or str(index) for index, label in enumerate(labels)), "channels of gray"


def _mpp(image: dict[str, Any], axes: list[str]) -> tuple[MppFound, ...]:
    units = [axis.get("unit") if isinstance(axis, dict) else None for axis in image["axes"]]
    sizes = {}
    for axis in "yx":
        index = axes.index(axis)
        unit = UM_PER_UNIT.get(units[index] or "")
        if unit is None:
            return ()
        both = (image["datasets"][0], image)
        size = unit
        for transforms in (part.get("coordinateTransformations", []) for part in both):
            for transform in transforms:
                if transform.get("type") == "scale":
                    size *= float(transform["scale"][index])
        sizes[axis] = size
    if not all(0 < size < float("inf") for size in sizes.values()):
        return ()
    return (MppFound(sizes["y"], sizes["x"], "OME-Zarr scale"),)


def _loader(array: Any, axes: list[str]) -> Callable[[Box], Pixels]:
    def load(box: Box) -> Pixels:
        wanted = {"y": slice(box.y0, box.y1), "x": slice(box.x0, box.x1), "c": slice(None)}
        pixels = np.asarray(array[tuple(wanted.get(axis, 0) for axis in axes)])
        kept = [axis for axis in axes if axis in wanted]
        order = [kept.index(axis) for axis in ("y", "x", "c") if axis in kept]
        return pixels.transpose(order).reshape(*box.shape, -1)

    return load
