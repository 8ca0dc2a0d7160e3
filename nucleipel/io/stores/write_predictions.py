"""Write predictions: the shards of a map, by several processes at will, then the image's record.

A shard counts once it is noted in a journal, with the hash of its file; the
image counts once all its shards are noted, and its thumbnail and record.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from nucleipel.core.atomic import write_sealed_json
from nucleipel.core.geometry import Box
from nucleipel.core.shard import Part
from nucleipel.core.stop_signals import in_steps
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.core.threads import in_background
from nucleipel.io.records.checksums import JOURNAL, Written
from nucleipel.io.records.fingerprint import fingerprint
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.stores.predictions import (
    IMAGE_RECORD,
    THUMBNAIL,
    THUMBNAIL_FILES,
    is_whole,
)
from nucleipel.io.stores.stored_map import MAP, Glass, MapLayout, open_for_writing
from nucleipel.io.zarr_metadata import META, metadata_of, put_metadata


@dataclass(frozen=True, slots=True)
class PredictedImage:
    """The record of an image, but for its map.

    `path` is the file that was predicted, `resolution` how it was read, `channel` the only one of
    its channels that was; `tissue` says what was skipped as glass, `intensity` which stored
    values became 0 and 1, `view` how the scale was chosen, `instances` which numbers of the rule
    differ for this image; `canonical_map` is False if the map depends on how the image was cut
    into windows.
    """

    path: Path
    resolution: Resolution
    channel: int | None = None
    tissue: Mapping[str, Any] = field(default_factory=dict)
    intensity: Mapping[str, Any] = field(default_factory=dict)
    view: Mapping[str, Any] = field(default_factory=dict)
    canonical_map: bool = True
    instances: Mapping[str, Any] = field(default_factory=dict)


def is_predicted(store: Path, image_id: str) -> bool:
    """Return whether an earlier go of the same run finished this image."""
    return is_whole(Written(store / image_id))


class MapWriter:
    """Writes the map of one image.

    Parameters
    ----------
    store : Path
        The store of predictions.
    image_id : str
        The image, the name of its folder in the store.
    layout : MapLayout
        How the map is cut.
    skipped : collection of Box
        The cores that are glass; shards of nothing else are not written.
    journal : str
        Ends the name of this process' journal, where others write shards of the same map.
    """

    def __init__(
        self,
        store: Path,
        image_id: str,
        layout: MapLayout,
        *,
        skipped: Collection[Box] = (),
        journal: str = "",
    ) -> None:
        self.image_id, self.layout = image_id, layout
        self.glass = Glass.of_boxes(layout, skipped)
        self.shards = [shard for shard in layout.shards() if not self.glass.covers(shard)]
        self._store, self._folder = store, store / image_id
        self._journal = f"{JOURNAL}{journal}"

    def shards_of(self, part: Part) -> list[Box]:
        """The shards of one part of the image: a run of them in raster order.

        Parts have about the same number of cores that are no glass.
        """
        cores = [
            sum(not self.glass.covers(core) for core in self.layout.cores_of(shard))
            for shard in self.shards
        ]
        middles = np.cumsum(cores) - np.array(cores) / 2
        owners = (middles * part.count / max(1, sum(cores))).astype(int)
        return [s for s, owner in zip(self.shards, owners, strict=True) if owner == part.number - 1]

    def left(self, shards: Iterable[Box]) -> list[Box]:
        """The shards among these that nobody has written."""
        written = Written(self._folder)
        return [shard for shard in shards if self.layout.file_of(shard) not in written]

    def write(
        self,
        shards: Iterable[tuple[Box, npt.NDArray[np.uint8]]],
        *,
        clock: Stopwatch,
    ) -> None:
        """Write shards, each a box and its (C, h, w) values.

        A thread compresses and writes one while the next one is made; each is
        noted when it is on the disk.
        """
        self._put_metadata()
        array, written = open_for_writing(self._folder), Written(self._folder, self._journal)

        def write(shard: tuple[Box, npt.NDArray[np.uint8]]) -> None:
            box, values = shard
            with clock.phase("write"):
                array[(slice(None), *box.slices)] = values
                written.add([self.layout.file_of(box)])

        with in_background(write) as give:
            for shard in in_steps(shards):
                give(shard)

    def finish(self, image: PredictedImage, thumbnail: npt.NDArray[np.uint8]) -> None:
        """Write the thumbnail (h, w, 3) and the record of an image whose shards are all there."""
        self._put_metadata()
        zarr.create_array(
            self._folder / THUMBNAIL,
            data=thumbnail,
            chunks=thumbnail.shape,
            overwrite=True,
            config={"write_empty_chunks": True},
        )
        record = {
            # a link keeps its name: that of what it leads to may have no suffix
            "image": str(image.path.parent.resolve() / image.path.name),
            "image_fingerprint": fingerprint(image.path),
            "resolution": asdict(image.resolution),
            "channel": image.channel,
            "maps": self.layout.maps,
            "core_px": self.layout.core_px,
            "shards": len(self.shards),
            "glass": self.glass.to_text(),
            "tissue": dict(image.tissue),
            "intensity": dict(image.intensity),
            "view": dict(image.view),
            "canonical_map": image.canonical_map,
            "instances": dict(image.instances),
        }
        write_sealed_json(self._folder / IMAGE_RECORD, record)
        written = Written(self._folder, self._journal)
        written.add([META, f"{MAP}/{META}", *THUMBNAIL_FILES, IMAGE_RECORD])

    def _put_metadata(self) -> None:
        put_metadata(self._store, metadata_of(zarr.create_group))
        put_metadata(self._folder, metadata_of(self.layout.create))


def write_prediction(
    store: Path,
    image_id: str,
    shards: Iterable[tuple[Box, npt.NDArray[np.uint8]]],
    image: PredictedImage,
    thumbnail: npt.NDArray[np.uint8],
    *,
    maps: int,
    core_px: int,
    skipped: Collection[Box] = (),
) -> None:
    """Write one image: the shards of its map with `maps` channels, its thumbnail, its record."""
    layout = MapLayout(image.resolution.shape, maps, core_px)
    writer = MapWriter(store, image_id, layout, skipped=skipped)
    writer.write(shards, clock=Stopwatch())
    writer.finish(image, thumbnail)
