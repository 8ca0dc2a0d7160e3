"""Predicted probability maps: one zarr v3 array an image, at the working mpp.

    PREDICTIONS.zarr/
        <id>/map        (C, H, W) uint8: background, interior, boundary, distance
        <id>/thumbnail  (h, w, 3) uint8, the image at most 2048 px wide, for overlays
        <id>/image.json written last: the image, how it was read, shards, what was skipped
        nucleipel.json  record of the whole run

Chunks are the cores of the window grid; a shard is written once, whole.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec

from nucleipel.core.atomic import sync_tree, write_json
from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError, StoreError
from nucleipel.io.fingerprint import fingerprint
from nucleipel.io.formats import open_image
from nucleipel.io.output import identity, read_record
from nucleipel.io.resolution import Resolution
from nucleipel.io.slide import Slide

MAP, THUMBNAIL, IMAGE_RECORD = "map", "thumbnail", "image.json"
CORES_PER_SHARD = 4
NOT_TOLD: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Prediction:
    """One image's finished prediction; the map is in the working frame of `resolution`.

    `tissue` tells what was skipped as glass.
    """

    id: str
    folder: Path
    resolution: Resolution
    image: Path
    image_fingerprint: str
    channel: int | None
    shards: int
    tissue: Mapping[str, Any]

    def open_image(self, resolution: Resolution) -> Slide:
        """The predicted image with all its channels, in the frame of `resolution`.

        Raises
        ------
        StoreError
            If it is no longer where it was, or has changed.
        """
        try:
            image = open_image(self.image)
        except ImageError as error:
            raise StoreError(
                f"{error}; it was predicted there: put it back, or leave intensities out with"
                " --set intensities=false"
            ) from error
        if fingerprint(self.image) != self.image_fingerprint:
            image.close()
            raise StoreError(f"{self.image}: has changed since it was predicted; predict again")
        return Slide(image, resolution)

    def open_map(self) -> "StoredMap":
        """The (C, H, W) uint8 map, read by parts.

        Raises
        ------
        StoreError
            If a shard is missing (which zarr would read as zeros).
        """
        found = sum(1 for file in (self.folder / MAP / "c").rglob("*") if file.is_file())
        if found != self.shards:
            raise StoreError(
                f"{self.folder}: has {found} shards, its record says {self.shards}; predict again"
            )
        return StoredMap(self.folder / MAP)

    def read_map(self) -> npt.NDArray[np.uint8]:
        """The whole (C, H, W) uint8 map.

        Raises
        ------
        StoreError
            If a shard is missing or damaged.
        """
        return self.open_map()[:, :, :]

    def read_thumbnail(self) -> npt.NDArray[np.uint8]:
        """The (h, w, 3) uint8 picture of the image."""
        return StoredMap(self.folder / THUMBNAIL)[:, :, :]


class StoredMap:
    """A stored array of three axes that is read when it is indexed, in several threads at will.

    Raises
    ------
    StoreError
        If it, or a part that is asked for, cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._array = zarr.open_array(path, mode="r")
        except Exception as error:
            raise self._unreadable(error) from error
        self.shape: tuple[int, int, int] = self._array.shape  # type: ignore[assignment]
        self.dtype = np.dtype(self._array.dtype)

    def __getitem__(self, index: tuple[slice, slice, slice]) -> npt.NDArray[np.uint8]:
        try:
            return np.asarray(self._array[index])
        except Exception as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> StoreError:
        return StoreError(
            f"{self._path.parent}: {self._path.name} cannot be read: {error}; predict again"
        )


@dataclass(frozen=True)
class Predictions:
    """A finished store; `instances` holds the numbers of the `InstanceRule` that suits its maps."""

    path: Path
    images: tuple[Prediction, ...]
    instances: dict[str, Any]
    fingerprint: str

    def require_images(self) -> None:
        """Check that every image is still there, as it was predicted.

        Raises
        ------
        StoreError
            If one is not.
        """
        for prediction in self.images:
            prediction.open_image(prediction.resolution).close()


def shard_boxes(shape: tuple[int, int], *, core_px: int) -> list[Box]:
    """The parts of an image of shape (height, width) that are predicted and written in one go."""
    side = core_px * CORES_PER_SHARD
    return [
        Box(y, x, y + side, x + side).clip(shape)
        for y in range(0, shape[0], side)
        for x in range(0, shape[1], side)
    ]


def is_predicted(store: Path, image_id: str) -> bool:
    """Whether an earlier go of the same run finished this image."""
    return (store / image_id / IMAGE_RECORD).is_file()


def write_prediction(
    store: Path,
    image_id: str,
    parts: Iterable[tuple[Box, npt.NDArray[np.uint8]]],
    *,
    image: Path,
    resolution: Resolution,
    channel: int | None = None,
    maps: int,
    core_px: int,
    thumbnail: npt.NDArray[np.uint8],
    tissue: Mapping[str, Any] = NOT_TOLD,
) -> None:
    """Write one image: its map part by part (`shard_boxes`), its thumbnail, then its record.

    `image` is the file that was predicted, `resolution` how it was read, `channel` the only
    one of its channels that was.
    """
    folder, shape = store / image_id, resolution.shape
    chunk = tuple(min(core_px, length) for length in shape)
    shard = tuple(
        side * min(CORES_PER_SHARD, -(-length // side))
        for side, length in zip(chunk, shape, strict=True)
    )
    group = zarr.open_group(store, mode="a").require_group(image_id)
    array = group.create_array(
        MAP,
        shape=(maps, *shape),
        chunks=(maps, *chunk),
        shards=(maps, *shard),
        dtype=np.uint8,
        compressors=[
            BloscCodec(cname="lz4", clevel=5, shuffle=BloscShuffle.bitshuffle),
            Crc32cCodec(),
        ],
        dimension_names=("c", "y", "x"),
        overwrite=True,
        # an all-zero shard must exist too: a missing file is how damage shows
        config={"write_empty_chunks": True},
    )
    shards = 0
    for box, values in parts:
        array[(slice(None), *box.slices)] = values
        shards += 1
    group.create_array(THUMBNAIL, data=thumbnail, chunks=thumbnail.shape, overwrite=True)
    sync_tree(folder)
    record = {
        "image": str(image.resolve()),
        "image_fingerprint": fingerprint(image),
        "resolution": asdict(resolution),
        "channel": channel,
        "shards": shards,
        "tissue": dict(tissue),
    }
    write_json(folder / IMAGE_RECORD, record)


def open_predictions(path: Path) -> Predictions:
    """Open a finished store.

    Raises
    ------
    StoreError
        If it is missing or unfinished.
    """
    record = read_record(path, stage="predict")
    images = tuple(_open_prediction(path, name) for name in record["images"])
    return Predictions(path, images, record["instances"], identity(record))


def _open_prediction(path: Path, image_id: str) -> Prediction:
    folder = path / image_id
    try:
        fields: dict[str, Any] = json.loads((folder / IMAGE_RECORD).read_text(encoding="utf-8"))
        return Prediction(
            id=image_id,
            folder=folder,
            resolution=_resolution(fields["resolution"]),
            image=Path(fields["image"]),
            image_fingerprint=fields["image_fingerprint"],
            channel=fields["channel"],
            shards=fields["shards"],
            tissue=fields.get("tissue", NOT_TOLD),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder}: has no readable {IMAGE_RECORD}; predict again") from error


def _resolution(fields: dict[str, Any]) -> Resolution:
    """From JSON, which knows no tuples."""
    return Resolution(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    )
