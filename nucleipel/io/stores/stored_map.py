"""The zarr array of one probability map: how it is cut, which shards it has, how it is read.

Chunks are the cores of the window grid; a shard holds 4 x 4 of them and is
written once, whole. Cores that were skipped as glass are background. A shard of
nothing but such cores is never written: the map's record lists the glass, so
that empty glass costs neither time nor files, and a shard that is missing for
another reason is still noticed.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec

from nucleipel.core.geometry import Box
from nucleipel.errors import StoreError

MAP = "map"
CORES_PER_SHARD = 4
PART_PX, MOST_PARTS = 4096**2, 64
"""An image has a part for each so many pixels, but no more than that; a smaller one is one part."""
BACKGROUND, CERTAIN = 0, 255
"""The first channel of a map, and its value where everything is background."""


@dataclass(frozen=True, slots=True)
class MapLayout:
    """The cut of a map of `shape` (height, width) with `maps` channels into cores and shards."""

    shape: tuple[int, int]
    maps: int
    core_px: int

    @property
    def shard_px(self) -> int:
        """Side of a shard."""
        return self.core_px * CORES_PER_SHARD

    def shards(self) -> list[Box]:
        """The boxes of all shards, in raster order."""
        return shard_boxes(self.shape, core_px=self.core_px)

    def file_of(self, shard: Box) -> str:
        """Name of a shard's file, below the folder of its image."""
        return f"{MAP}/c/0/{shard.y0 // self.shard_px}/{shard.x0 // self.shard_px}"

    def cores_of(self, shard: Box) -> list[Box]:
        """The boxes of the cores in a shard, in raster order."""
        side = self.core_px
        return [
            Box(y, x, y + side, x + side).clip(self.shape)
            for y in range(shard.y0, shard.y1, side)
            for x in range(shard.x0, shard.x1, side)
        ]

    def parts(self) -> int:
        """Number of parts of the map that different processes may make."""
        return min(most_parts(self.shape), len(self.shards()))

    def create(self, store: Any) -> None:
        """Create the group of an image and the array of its map in a zarr store."""
        zarr.create_group(store)
        chunk = tuple(min(self.core_px, length) for length in self.shape)
        shard = tuple(
            side * min(CORES_PER_SHARD, -(-length // side))
            for side, length in zip(chunk, self.shape, strict=True)
        )
        zarr.create_array(
            store,
            name=MAP,
            shape=(self.maps, *self.shape),
            chunks=(self.maps, *chunk),
            shards=(self.maps, *shard),
            dtype=np.uint8,
            compressors=[
                BloscCodec(cname="lz4", clevel=5, shuffle=BloscShuffle.bitshuffle),
                Crc32cCodec(),
            ],
            dimension_names=("c", "y", "x"),
        )


def most_parts(shape: tuple[int, int]) -> int:
    """Largest number of parts of a map of shape (height, width), however it is cut."""
    height, width = shape
    return max(1, min(height * width // PART_PX, MOST_PARTS))


def shard_boxes(shape: tuple[int, int], *, core_px: int) -> list[Box]:
    """The parts of an image of shape (height, width) that are predicted and written in one go."""
    side = core_px * CORES_PER_SHARD
    return [
        Box(y, x, y + side, x + side).clip(shape)
        for y in range(0, shape[0], side)
        for x in range(0, shape[1], side)
    ]


def open_for_writing(folder: Path) -> Any:
    """The array of a map, to write whole shards into; one of zeros alone is written as well."""
    # a missing file is how damage is noticed
    return zarr.open_array(folder / MAP, mode="r+").with_config({"write_empty_chunks": True})


class Glass:
    """The cores of a map that were skipped as glass.

    Parameters
    ----------
    cores : (rows, columns) bool
        One value a core of the window grid.
    core_px : int
        Side of the cores.
    """

    def __init__(self, cores: npt.NDArray[np.bool_], core_px: int) -> None:
        self.cores, self._core_px = cores, core_px

    @classmethod
    def of_boxes(cls, layout: MapLayout, skipped: Collection[Box]) -> "Glass":
        """The cores among the boxes `skipped`."""
        height, width = (-(-length // layout.core_px) for length in layout.shape)
        cores = np.zeros((height, width), bool)
        for box in skipped:
            cores[box.y0 // layout.core_px, box.x0 // layout.core_px] = True
        return cls(cores, layout.core_px)

    @classmethod
    def of_text(cls, text: str, layout: MapLayout) -> "Glass":
        """The cores that `to_text` wrote."""
        height, width = (-(-length // layout.core_px) for length in layout.shape)
        if not text:
            return cls(np.zeros((height, width), bool), layout.core_px)
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=height * width)
        return cls(bits.reshape(height, width).astype(bool), layout.core_px)

    def to_text(self) -> str:
        """One bit a core in raster order, as hexadecimal digits; empty where there is no glass."""
        return np.packbits(self.cores).tobytes().hex() if self.cores.any() else ""

    def covers(self, box: Box) -> bool:
        """Return whether a box that lies on the map holds nothing but glass."""
        return bool(self.cores[self._places(box)].all())

    def boxes_in(self, box: Box) -> list[Box]:
        """The parts of a box that are glass, one a core, in the frame of the map."""
        rows, columns = self._places(box)
        side = self._core_px
        return [
            Box(
                max(row * side, box.y0),
                max(column * side, box.x0),
                min((row + 1) * side, box.y1),
                min((column + 1) * side, box.x1),
            )
            for row, column in np.argwhere(self.cores[rows, columns])
            + np.array([rows.start, columns.start])
        ]

    def _places(self, box: Box) -> tuple[slice, slice]:
        side = self._core_px
        return (
            slice(box.y0 // side, -(-box.y1 // side)),
            slice(box.x0 // side, -(-box.x1 // side)),
        )


class StoredMap:
    """A stored (C, H, W) uint8 map that is read when it is indexed, in several threads at will.

    Raises
    ------
    StoreError
        If it, or a part that is read, cannot be read.
    """

    def __init__(self, path: Path, *, glass: Glass | None = None) -> None:
        self._path, self._glass = path, glass
        try:
            self._array = zarr.open_array(path, mode="r")
        except Exception as error:
            raise self._unreadable(error) from error
        self.shape: tuple[int, int, int] = self._array.shape  # type: ignore[assignment]
        self.dtype = np.dtype(self._array.dtype)

    def is_background(self, box: Box) -> bool:
        """Return whether a box is known to be background without being read."""
        return self._glass is not None and self._glass.covers(box)

    def __getitem__(self, index: tuple[slice, slice, slice]) -> npt.NDArray[np.uint8]:
        channels, *sides = (
            slice(*part.indices(length)) for part, length in zip(index, self.shape, strict=True)
        )
        box = Box(sides[0].start, sides[1].start, sides[0].stop, sides[1].stop)
        if self.is_background(box):
            values = np.zeros((self.shape[0], *box.shape), np.uint8)
            values[BACKGROUND] = CERTAIN
            return values[channels]
        try:
            values = np.asarray(self._array[(channels, *sides)])
        except Exception as error:
            raise self._unreadable(error) from error
        for glass in self._glass.boxes_in(box) if self._glass and channels.start == 0 else ():
            values[(BACKGROUND, *glass.shift(-box.y0, -box.x0).slices)] = CERTAIN
        return values

    def _unreadable(self, error: Exception) -> StoreError:
        return StoreError(
            f"{self._path.parent}: {self._path.name} cannot be read: {error}; predict again"
        )
