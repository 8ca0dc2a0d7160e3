"""Predicted probability maps: one zarr v3 array an image, at the working mpp.

    PREDICTIONS.zarr/
        <id>/map        (C, H, W) uint8: background, interior, boundary, distance
        <id>/thumbnail  (h, w, 3) uint8, the image at most 2048 px wide, for overlays
        <id>/image.json written last: the image, how it was read, shards, what was skipped
        <id>/.written   while it is at work: hashes of the finished files
        nucleipel.json  record of the whole run

Chunks are the cores of the window grid; a shard is written once, whole.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec
from zarr.errors import ContainsGroupError

from nucleipel.core.atomic import read_sealed_json, write_sealed_json
from nucleipel.core.geometry import Box
from nucleipel.core.stopping import in_steps
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.core.threads import behind
from nucleipel.errors import ImageError, StoreError
from nucleipel.io.records.checksums import Written, count_present, require_whole
from nucleipel.io.records.fingerprint import fingerprint
from nucleipel.io.records.output import identity, read_record, read_written
from nucleipel.io.slides.formats import open_image
from nucleipel.io.slides.formats.channels import as_rgb
from nucleipel.io.slides.formats.stored_image import SourceFrame
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import Slide

MAP, THUMBNAIL, IMAGE_RECORD, META = "map", "thumbnail", "image.json", "zarr.json"
THUMBNAIL_FILES = (f"{THUMBNAIL}/{META}", f"{THUMBNAIL}/c/0/0/0")
CORES_PER_SHARD = 4
NOT_TOLD: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Prediction:
    """One image's finished prediction; the map is in the working frame of `resolution`.

    `tissue` tells what was skipped as glass, `written` holds the hashes of its files;
    `canonical_map` is False if the map depends on how the image was cut into windows.
    """

    id: str
    folder: Path
    resolution: Resolution
    image: Path
    image_fingerprint: str
    channel: int | None
    shards: int
    tissue: Mapping[str, Any]
    canonical_map: bool
    written: Mapping[str, str]

    def open_image(self, resolution: Resolution) -> Slide:
        """The predicted image with all its channels, in the frame of `resolution`.

        Raises
        ------
        StoreError
            If it is no longer where it was, or has changed.
        """
        try:
            image = open_image(self.image, series=self.resolution.source.series)
        except ImageError as error:
            raise StoreError(
                f"{error}; it was predicted there: put it back, or leave intensities out with"
                " --set intensities=false"
            ) from error
        if fingerprint(self.image) != self.image_fingerprint:
            image.close()
            raise StoreError(f"{self.image}: has changed since it was predicted; predict again")
        return Slide(as_rgb(image) if resolution.source.as_color else image, resolution)

    def open_map(self) -> "StoredMap":
        """The (C, H, W) uint8 map, read by parts.

        Raises
        ------
        StoreError
            If a shard is missing (which zarr would read as zeros), or its
            description was altered.
        """
        require_whole(self.folder, f"{MAP}/{META}", self.written, again="predict")
        found = count_present(self.folder, self.written, f"{MAP}/c")
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
        """The (h, w, 3) uint8 picture of the image.

        Raises
        ------
        StoreError
            If it is missing or damaged.
        """
        for name in THUMBNAIL_FILES:
            require_whole(self.folder, name, self.written, again="predict")
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
    """A store; `instances` holds the numbers of the `InstanceRule` that suits its maps.

    `ids` are all images that were to be predicted, `images` those that are there.
    """

    path: Path
    ids: tuple[str, ...]
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

    @property
    def missing(self) -> tuple[str, ...]:
        """Ids of the images that are not there."""
        present = {image.id for image in self.images}
        return tuple(name for name in self.ids if name not in present)

    def image(self, image_id: str) -> Prediction:
        """The prediction of one image.

        Raises
        ------
        StoreError
            If it is not there.
        """
        for image in self.images:
            if image.id == image_id:
                return image
        raise StoreError(f"{self.path}: image '{image_id}' is not predicted; predict it first")


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
    return _is_whole(Written(store / image_id))


def _is_whole(written: Written) -> bool:
    fixed = (META, f"{MAP}/{META}", *THUMBNAIL_FILES, IMAGE_RECORD)
    if not all(name in written for name in fixed):
        return False
    shards = [name for name in written.sums if name.startswith(f"{MAP}/c/")]
    try:
        fields = read_sealed_json(written.folder / IMAGE_RECORD)
    except ValueError:
        return False
    return len(shards) == fields["shards"] and all(name in written for name in shards)


def parts_left(store: Path, image_id: str, parts: Iterable[Box], *, core_px: int) -> list[Box]:
    """Those of an image's `shard_boxes` that an earlier go of the same run did not write."""
    written = Written(store / image_id)
    return [part for part in parts if _shard_file(part, core_px) not in written]


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
    canonical_map: bool = True,
    clock: Stopwatch | None = None,
) -> None:
    """Write one image: those `parts_left` of its map, its thumbnail, then its record.

    A thread compresses and writes one part while the next one is made; each is
    noted when it is on the disk.

    `image` is the file that was predicted, `resolution` how it was read, `channel` the only
    one of its channels that was.
    """
    clock = clock or Stopwatch()
    folder, shape = store / image_id, resolution.shape
    chunk = tuple(min(core_px, length) for length in shape)
    shard = tuple(
        side * min(CORES_PER_SHARD, -(-length // side))
        for side, length in zip(chunk, shape, strict=True)
    )
    with suppress(ContainsGroupError):  # by who writes another image
        zarr.open_group(store, mode="a")
    for name in (META, f"{MAP}/{META}"):
        # anew, in place: what an earlier go wrote below them stays
        folder.joinpath(name).unlink(missing_ok=True)
    zarr.create_group(folder)
    array = zarr.create_array(
        folder / MAP,
        shape=(maps, *shape),
        chunks=(maps, *chunk),
        shards=(maps, *shard),
        dtype=np.uint8,
        compressors=[
            BloscCodec(cname="lz4", clevel=5, shuffle=BloscShuffle.bitshuffle),
            Crc32cCodec(),
        ],
        dimension_names=("c", "y", "x"),
        # an all-zero shard must exist too: a missing file is how damage shows
        config={"write_empty_chunks": True},
    )
    written = Written(folder)

    def write(part: tuple[Box, npt.NDArray[np.uint8]]) -> None:
        box, values = part
        with clock.phase("write"):
            array[(slice(None), *box.slices)] = values
            written.add([_shard_file(box, core_px)])

    with behind(write) as give:
        for part in in_steps(parts):
            give(part)
    zarr.create_array(
        folder / THUMBNAIL,
        data=thumbnail,
        chunks=thumbnail.shape,
        overwrite=True,
        config={"write_empty_chunks": True},
    )
    record = {
        "image": str(image.resolve()),
        "image_fingerprint": fingerprint(image),
        "resolution": asdict(resolution),
        "channel": channel,
        "shards": len(shard_boxes(shape, core_px=core_px)),
        "tissue": dict(tissue),
        "canonical_map": canonical_map,
    }
    write_sealed_json(folder / IMAGE_RECORD, record)
    written.add([META, f"{MAP}/{META}", *THUMBNAIL_FILES, IMAGE_RECORD])


def _shard_file(part: Box, core_px: int) -> str:
    side = core_px * CORES_PER_SHARD
    return f"{MAP}/c/0/{part.y0 // side}/{part.x0 // side}"


def open_predictions(
    path: Path, *, unfinished: bool = False, only: str | None = None
) -> Predictions:
    """Open a finished store; or, with `unfinished`, the finished images of one that is not.

    With `only`, an image's id, as if no other were to be predicted.

    Raises
    ------
    StoreError
        If it is missing, unfinished, or its list of files was altered.
    """
    record = read_record(path, stage="predict", unfinished=unfinished)
    if record["complete"]:
        ids, instances = record.get("plan", {}).get("images"), record["instances"]
        written: dict[str, dict[str, str]] = {name: {} for name in record["images"]}
        for name, digest in read_written(path, record).items():
            image_id, _, file = name.partition("/")
            if image_id in written:
                written[image_id][file] = digest
    else:
        ids, instances = record["plan"]["images"], record["plan"]["instances"]
        wanted = [name for name in ids if only in (None, name)]
        # each journal once: whoever closes the store removes them
        written = {name: one.sums for name in wanted if _is_whole(one := Written(path / name))}
    ids = tuple(name for name in ids or written if only in (None, name))
    images = tuple(
        _open_prediction(path, name, files)
        for name, files in written.items()
        if only in (None, name)
    )
    return Predictions(path, ids, images, instances, identity(record))


def _open_prediction(path: Path, image_id: str, written: Mapping[str, str]) -> Prediction:
    folder = path / image_id
    try:
        fields: dict[str, Any] = read_sealed_json(folder / IMAGE_RECORD)
        return Prediction(
            id=image_id,
            folder=folder,
            resolution=_resolution(fields["resolution"]),
            image=Path(fields["image"]),
            image_fingerprint=fields["image_fingerprint"],
            channel=fields["channel"],
            shards=fields["shards"],
            tissue=fields.get("tissue", NOT_TOLD),
            canonical_map=fields.get("canonical_map", True),
            written=written,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{folder / IMAGE_RECORD}: cannot be read: {error}; predict again"
        ) from error


def _resolution(fields: dict[str, Any]) -> Resolution:
    """From JSON, which knows no tuples."""
    source = SourceFrame(**_with_tuples(fields["source"]))
    return Resolution(**{**_with_tuples(fields), "source": source})


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(value) if isinstance(value, list) else value for k, value in fields.items()}
