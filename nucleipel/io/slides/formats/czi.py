"""Zeiss CZI, read by pylibCZIrw (LGPL), Zeiss's own library: the extra `nucleipel[czi]`.

A scene is an image; its frame starts at the corner of the scene, as in QuPath. Between its
pieces nothing was scanned: white in color, 0 in fluorescence.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.block_cache import by_blocks
from nucleipel.io.slides.formats.channels import name_channels
from nucleipel.io.slides.formats.pixel_size import PixelSizes, stated_size
from nucleipel.io.slides.formats.series import Series, choose_series, picture_of_slide
from nucleipel.io.slides.formats.stored_image import (
    RGB,
    Level,
    Pixels,
    SourceFrame,
    StoredImage,
    downsample_of,
)

DTYPES = {"Gray8": "u1", "Gray16": "u2", "Gray32Float": "f4", "Bgr24": "u1", "Bgr48": "u2"}
WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
ROUNDED_UP = 1 + 1e-6
"""The library rounds sides down, of a zoom that is no exact fraction in 32 bits."""


def open_czi(path: Path, *, series: int | str | None = None, ids: bool = False) -> StoredImage:
    """Open a CZI; parameters and errors as `open_image`, and if its library is not installed."""
    try:
        from pylibCZIrw import czi
    except ImportError as error:
        raise ImageError(
            f"{path}: CZI is read by pylibCZIrw, which is not installed; pip install"
            " 'nucleipel[czi]'"
        ) from error
    opened = ExitStack()
    try:
        reader = opened.enter_context(czi.open_czi(str(path)))
        return _read_header(path, reader, wanted=series, close=opened.close)
    except BaseException:
        opened.close()
        raise


def _read_header(
    path: Path, reader: Any, *, wanted: int | str | None, close: Callable[[], None]
) -> StoredImage:
    for axis, (start, end) in reader.total_bounding_box_no_pyramid.items():
        if axis not in "XYC" and end - start > 1:
            raise ImageError(f"{path}: {end - start} planes along '{axis}'; export one plane")
    metadata = _Metadata(reader.raw_metadata)
    scenes = reader.scenes_bounding_rectangle_no_pyramid
    numbers: list[int | None] = sorted(scenes) or [None]
    places = [scenes[n] if n is not None else reader.total_bounding_rectangle_no_pyramid
              for n in numbers]  # fmt: skip
    held = [
        Series(name, (place.h, place.w), picture_of_slide(name))
        for place, name in zip(places, metadata.scenes(len(places)), strict=True)
    ]
    chosen = choose_series(path, held, wanted)
    place = places[chosen]
    kinds = [reader.pixel_types[channel] for channel in sorted(reader.pixel_types)]
    kind = _require_one_kind(path, kinds)
    color = kind.startswith("Bgr")
    scene = _Scene(reader, numbers[chosen], place, sorted(reader.pixel_types), color)
    steps = scene.steps()
    shapes = [(max(1, place.h // step), max(1, place.w // step)) for step in steps]
    return StoredImage(
        path=path,
        container=f"Zeiss CZI, libCZI, scene at y {place.y}, x {place.x}",
        levels=tuple(
            Level(shape, downsample_of(shape, shapes[0]), by_blocks(scene.level(step), shape))
            for step, shape in zip(steps, shapes, strict=True)
        ),
        dtype=np.dtype(DTYPES[kind]),
        channels=RGB if color else name_channels(metadata.channels(), len(kinds)),
        photometric=f"{kind}, what was not scanned is {'white' if color else '0'}",
        pixel_sizes=metadata.pixel_sizes(),
        series=tuple(held),
        source=SourceFrame(series=chosen, offset_px=(place.y, place.x)),
        close=close,
    )


def _require_one_kind(path: Path, kinds: list[str]) -> str:
    color = [kind for kind in kinds if kind.startswith("Bgr")]
    if len(set(kinds)) == 1 and kinds[0] in DTYPES and len(color) <= 1:
        return kinds[0]
    raise ImageError(
        f"{path}: channels of {', '.join(dict.fromkeys(kinds)) or 'no pixels'}; expected one in"
        " color, or gray ones of one kind; export them apart"
    )


@dataclass(frozen=True)
class _Scene:
    """A scene of an opened file: its number, if it has one, its rectangle and its channels."""

    reader: Any
    number: int | None
    place: Any
    channels: list[int]
    color: bool

    def steps(self) -> list[int]:
        """Pixels of level 0 per pixel, of each level that the file stores of the scene."""
        place, steps = self.place, {1}

        def note(_: int, block: Any) -> bool:
            whole, stored = block.logicalRect, block.physicalSize
            apart_x = whole.x >= place.x + place.w or place.x >= whole.x + whole.w
            apart_y = whole.y >= place.y + place.h or place.y >= whole.y + whole.h
            if not apart_x and not apart_y and stored.w > 0 and stored.h > 0:
                steps.add(max(1, round(max(whole.w / stored.w, whole.h / stored.h))))
            return True

        self.reader.enumerate_subblocks(note)
        return sorted(step for step in steps if min(place.h, place.w) >= step)

    def level(self, step: int) -> Callable[[Box], Pixels]:
        """Reads a box of the level whose pixels are `step` px of level 0 wide."""

        def read(box: Box) -> Pixels:
            (height, width), place = box.shape, self.place
            planes = [
                self.reader.read(
                    roi=(place.x + box.x0 * step, place.y + box.y0 * step,
                         width * step, height * step),
                    plane={"C": channel},
                    scene=self.number,
                    zoom=1.0 if step == 1 else ROUNDED_UP / step,
                    background_pixel=WHITE if self.color else BLACK,
                )[:height, :width]
                for channel in self.channels
            ]  # fmt: skip
            pixels = np.concatenate(planes, axis=-1)
            return np.ascontiguousarray(pixels[..., ::-1] if self.color else pixels)

        return read


class _Metadata:
    """Facts from the XML of a CZI; none where it cannot be parsed."""

    def __init__(self, text: str) -> None:
        from defusedxml.ElementTree import fromstring

        try:
            self._root = fromstring(text)
        except Exception:  # as in `read_ome_xml`
            self._root = None

    def _all(self, path: str) -> list[Any]:
        return [] if self._root is None else self._root.findall(path)

    def channels(self) -> list[str]:
        """Names of the channels, "" for one without."""
        channels = self._all("./Metadata/Information/Image/Dimensions/Channels/Channel")
        return [channel.get("Name") or "" for channel in channels]

    def scenes(self, count: int) -> list[str]:
        """Names of the scenes, "" for one without."""
        scenes = self._all("./Metadata/Information/Image/Dimensions/S/Scenes/Scene")
        names = {int(scene.get("Index", -1)): scene.get("Name") or "" for scene in scenes}
        return [names.get(index, "") for index in range(count)]

    def pixel_sizes(self) -> PixelSizes:
        """The size of a pixel, which is in meters."""
        sizes = {
            distance.get("Id"): distance.findtext("Value")
            for distance in self._all("./Metadata/Scaling/Items/Distance")
        }
        y, x = sizes.get("Y") or sizes.get("X"), sizes.get("X") or sizes.get("Y")
        return PixelSizes() if y is None else stated_size(y, x, ("m", "m"), where="CZI scaling")
