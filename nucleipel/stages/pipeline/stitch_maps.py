"""Stitch the map of any network: another program's array in place of predictions."""

import hashlib
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from nucleipel.config.pipeline.stitch_maps import StitchMapsConfig
from nucleipel.core.geometry import Box
from nucleipel.core.run_options import WHOLE_RUN, RunOptions
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.errors import StoreError
from nucleipel.instances.channel_maps import ChannelMaps
from nucleipel.io.records.fingerprint import fingerprint
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import Slide, image_stem, open_slide
from nucleipel.io.stores.foreign_maps import foreign_array
from nucleipel.io.stores.predictions import Prediction, Predictions
from nucleipel.stages.pipeline.run_parts import claim
from nucleipel.stages.pipeline.stitch import choose_block_px, stitch_images

log = logging.getLogger(__name__)

ARRAY = Path("maps")
"""Names an array in memory."""
THUMBNAIL_PX = 2048
READ_PX = 1024


def stitch_maps(
    maps: Any,
    out: Path,
    config: StitchMapsConfig,
    *,
    image: Path | None = None,
    options: RunOptions = WHOLE_RUN,
) -> Path:
    """Write the nuclei of a map that another program made into `out/<its name>/`.

    `maps` is the path of a zarr array, TIFF or NPY file, or an array, whose name is "maps".

    With its `image`, of the same shape, intensities are measured and the report
    shows nuclei. The certificate says that the map is another program's.

    Raises
    ------
    StoreError
        If the map or the image cannot be read, or do not fit each other.
    """
    with foreign_array(maps) if isinstance(maps, Path) else nullcontext(maps) as values:
        return _stitch(_describe(maps, values, image, config), out, config, options)


def _stitch(given: "GivenMap", out: Path, config: StitchMapsConfig, options: RunOptions) -> Path:
    clock = Stopwatch()
    inputs = {"maps": given.fingerprint}
    if given.slide is None:
        config = config.model_copy(update={"intensities": False})
    else:
        inputs["image"] = fingerprint(given.slide)
    store = Predictions(given.image, (given.id,), (cast(Prediction, given),), {}, given.fingerprint)
    output = claim("stitch", out, config, inputs, options)
    if output.complete:
        log.info("%s: these instances are finished", out)
        return out
    stitch_images(
        store, output, config, block_px=choose_block_px(config), options=options, clock=clock
    )
    clock.log_summary(log)
    return out


def name_of(maps: Any, image: Path | None) -> str:
    """The id of a map, of its image if it has one: the name of its folder in the output."""
    return image_stem(image or (maps if isinstance(maps, Path) else ARRAY))


@dataclass(frozen=True)
class GivenMap:
    """A map that nobody here predicted, with all that `stitch` asks of a `Prediction`."""

    id: str
    image: Path
    resolution: Resolution
    fingerprint: str
    maps: ChannelMaps
    origin: Mapping[str, Any]
    slide: Path | None
    channel: int | None = None
    canonical_map: bool | None = None
    tissue: Mapping[str, Any] = field(default_factory=dict)
    intensity: Mapping[str, Any] = field(default_factory=dict)
    view: Mapping[str, Any] = field(default_factory=dict)
    instances: Mapping[str, Any] = field(default_factory=dict)

    def open_image(self, resolution: Resolution) -> AbstractContextManager[Slide | None]:
        """The image of the map, where there is one, in the frame of `resolution`."""
        return nullcontext() if self.slide is None else open_slide(self.slide)

    def open_map(self) -> ChannelMaps:
        """The (3 or 4, H, W) uint8 map."""
        return self.maps

    def read_thumbnail(self) -> npt.NDArray[np.uint8]:
        """The foreground of the map, (h, w, 3) uint8, at most `THUMBNAIL_PX` wide."""
        height, width = self.resolution.shape
        step = -(-width // THUMBNAIL_PX)
        picture = np.zeros((-(-height // step), -(-width // step), 3), np.uint8)
        side = READ_PX // step * step or step
        for y in range(0, height, side):
            for x in range(0, width, side):
                box = Box(y, x, y + side, x + side).clip((height, width))
                shown = 255 - self.maps[(slice(0, 1), *box.slices)][0, ::step, ::step]
                rows, columns = y // step, x // step
                part = (
                    slice(rows, rows + shown.shape[0]),
                    slice(columns, columns + shown.shape[1]),
                )
                picture[part] = shown[..., None]
        return picture


class _FileMaps(ChannelMaps):
    """Maps of a file; what cannot be read is said with its name."""

    def __init__(self, path: Path, values: Any, channels: Mapping[str, int] | None) -> None:
        self._path = path
        try:
            super().__init__(values, channels)
        except ValueError as error:
            raise StoreError(f"{path}: {error}") from error

    def __getitem__(self, index: tuple[slice, slice, slice]) -> npt.NDArray[np.uint8]:
        try:
            return super().__getitem__(index)
        except Exception as error:  # a codec's own, or a value that is no probability
            raise StoreError(f"{self._path}: {' '.join(str(error).split())}") from error


def _describe(
    maps_or_path: Any, values: Any, image: Path | None, config: StitchMapsConfig
) -> GivenMap:
    path = maps_or_path if isinstance(maps_or_path, Path) else ARRAY
    maps = _FileMaps(path, values, config.channels)
    shape = (maps.shape[1], maps.shape[2])
    resolution, channel = Resolution.pixel_for_pixel(shape, config.mpp), None
    if image is not None:
        with open_slide(image, mpp=config.mpp) as slide:
            if slide.shape != shape:
                raise StoreError(
                    f"{path}: a map of {shape[0]} x {shape[1]} px, {image} has {slide.shape[0]} x"
                    f" {slide.shape[1]} px; they must be the same"
                )
            resolution = slide.resolution
            channel = None if slide.channels in (1, 3) else 0  # what the report shows
    log.info("%s: %s", path, ", ".join(f"{name} {i}" for name, i in maps.channels.items()))
    return GivenMap(
        id=name_of(maps_or_path, image),
        image=image or path,
        resolution=resolution,
        fingerprint=fingerprint(maps_or_path) if path is maps_or_path else _hash(maps),
        maps=maps,
        origin={"map_of": "another program", "channels": maps.channels},
        slide=image,
        channel=channel,
    )


def _hash(maps: ChannelMaps) -> str:
    """Hash of a map in memory, by which a run that was killed knows it again."""
    content, (count, height, width) = hashlib.sha256(str(maps.shape).encode()), maps.shape
    for y in range(0, height, READ_PX):
        for x in range(0, width, READ_PX):
            box = Box(y, x, y + READ_PX, x + READ_PX).clip((height, width))
            content.update(maps[(slice(0, count), *box.slices)].tobytes())
    return content.hexdigest()
