"""Predicted probability maps: one zarr v3 array an image, at the working mpp.

    PREDICTIONS.zarr/
        <id>/map        (C, H, W) uint8: background, interior, boundary, distance
        <id>/thumbnail  (h, w, 3) uint8, the image at most 2048 px wide, for overlays
        <id>/image.json written last: the image, how it was read, shards, what was skipped
        <id>/.written*  while it is at work: hashes of the finished files
        nucleipel.json  record of the whole run

`stored_map.py` says how a map is cut; `write_predictions.py` writes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.atomic import read_sealed_json
from nucleipel.errors import ImageError, StoreError
from nucleipel.io.records.checksums import Written, count_present, require_whole
from nucleipel.io.records.fingerprint import fingerprint
from nucleipel.io.records.output import identity, read_record, read_written
from nucleipel.io.slides.formats import open_image
from nucleipel.io.slides.formats.channels import as_rgb
from nucleipel.io.slides.formats.stored_image import SourceFrame
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import Slide
from nucleipel.io.stores.stored_map import MAP, Glass, MapLayout, StoredMap
from nucleipel.io.zarr_metadata import META

THUMBNAIL, IMAGE_RECORD = "thumbnail", "image.json"
THUMBNAIL_FILES = (f"{THUMBNAIL}/{META}", f"{THUMBNAIL}/c/0/0/0")
NOT_REPORTED: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Prediction:
    """One image's finished prediction; the map is in the working frame of `resolution`.

    `shards` is the number of shards that were written, `glass` the cores that were skipped,
    `tissue` says why, `intensity` which stored values became 0 and 1,
    `view` at which scale it was seen, `instances` which numbers of the rule differ for this image;
    `written` holds the hashes of its files; `canonical_map` is False if the map depends on how the
    image was cut into windows. `origin` is what else its certificates say.
    """

    id: str
    folder: Path
    resolution: Resolution
    image: Path
    image_fingerprint: str
    channel: int | None
    shards: int
    glass: Glass | None
    tissue: Mapping[str, Any]
    intensity: Mapping[str, Any]
    view: Mapping[str, Any]
    canonical_map: bool
    written: Mapping[str, str]
    instances: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)

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
                " --set intensities=false and another --out"
            ) from error
        if fingerprint(self.image) != self.image_fingerprint:
            image.close()
            raise StoreError(f"{self.image}: has changed since it was predicted; predict again")
        return Slide(as_rgb(image) if resolution.source.as_color else image, resolution)

    def open_map(self) -> StoredMap:
        """The (C, H, W) uint8 map, read by parts.

        Raises
        ------
        StoreError
            If a shard is missing (which zarr would read as zeros), or its
            description was altered.
        """
        require_whole(self.folder, f"{MAP}/{META}", self.written, again="predict")
        present = count_present(self.folder, self.written, f"{MAP}/c")
        if present != self.shards:
            raise StoreError(
                f"{self.folder}: has {present} shards, its record says {self.shards}; predict again"
            )
        return StoredMap(self.folder / MAP, glass=self.glass)

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


@dataclass(frozen=True)
class Predictions:
    """A store; `instances` has the numbers of the `InstanceRule` that suits most of its maps.

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

    def instances_of(self, image: Prediction) -> dict[str, Any]:
        """Numbers of the `InstanceRule` that suits the map of an image."""
        return {**self.instances, **image.instances}

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


def is_whole(written: Written) -> bool:
    """Return whether all files of an image are there, by its journals and its record."""
    fixed = (META, f"{MAP}/{META}", *THUMBNAIL_FILES, IMAGE_RECORD)
    if not all(name in written for name in fixed):
        return False
    shards = [name for name in written.sums if name.startswith(f"{MAP}/c/")]
    try:
        fields = read_sealed_json(written.folder / IMAGE_RECORD)
    except ValueError:
        return False
    return len(shards) == fields["shards"] and all(name in written for name in shards)


def open_predictions(
    path: Path, *, unfinished: bool = False, only: Collection[str] | None = None
) -> Predictions:
    """Open a finished store; or, with `unfinished`, the finished images of one that is not.

    With `only`, ids of images, as if no others were to be predicted.

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
        wanted = [name for name in ids if only is None or name in only]
        # each journal once: whoever closes the store removes them
        written = {name: one.sums for name in wanted if is_whole(one := Written(path / name))}
    ids = tuple(name for name in ids or written if only is None or name in only)
    images = tuple(
        _open_prediction(path, name, files)
        for name, files in written.items()
        if only is None or name in only
    )
    return Predictions(path, ids, images, instances, identity(record))


def _open_prediction(path: Path, image_id: str, written: Mapping[str, str]) -> Prediction:
    folder = path / image_id
    try:
        fields: dict[str, Any] = read_sealed_json(folder / IMAGE_RECORD)
        resolution = _resolution(fields["resolution"])
        return Prediction(
            id=image_id,
            folder=folder,
            resolution=resolution,
            image=Path(fields["image"]),
            image_fingerprint=fields["image_fingerprint"],
            channel=fields["channel"],
            shards=fields["shards"],
            glass=_glass(fields, resolution.shape),
            tissue=fields.get("tissue", NOT_REPORTED),
            intensity=fields.get("intensity", NOT_REPORTED),
            view=fields.get("view", NOT_REPORTED),
            canonical_map=fields.get("canonical_map", True),
            instances=fields.get("instances", {}),
            written=written,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{folder / IMAGE_RECORD}: cannot be read: {error}; predict again"
        ) from error


def _glass(fields: Mapping[str, Any], shape: tuple[int, int]) -> Glass | None:
    if not fields.get("glass"):
        return None
    return Glass.of_text(fields["glass"], MapLayout(shape, fields["maps"], fields["core_px"]))


def _resolution(fields: dict[str, Any]) -> Resolution:
    """From JSON, which knows no tuples."""
    source = SourceFrame(**_with_tuples(fields["source"]))
    return Resolution(**{**_with_tuples(fields), "source": source})


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(value) if isinstance(value, list) else value for k, value in fields.items()}
