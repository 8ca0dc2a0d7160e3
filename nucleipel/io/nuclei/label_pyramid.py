"""An instance map as OME-Zarr 0.5 labels: `instances.zarr`, a pyramid when it is large.

instances.zarr/zarr.json    zarr v3 group; `ome`: version, multiscales, image-label
instances.zarr/0            (H, W) uint32; 1, 2, ... every second pixel of the one before

A level is drawn band by band, each a row of its shards, by several processes at
will. Parts without a nucleus are neither read nor stored.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nucleipel.core.atomic import sync
from nucleipel.core.geometry import Box
from nucleipel.io.slides.resolution import WorldFrame
from nucleipel.io.zarr_metadata import metadata_of, put_metadata

LABELS = "instances.zarr"
PYRAMID_FROM_PX = 4096
CHUNK_PX = 512
CHUNKS_PER_SHARD = 4

ReadPart = Callable[[Box], npt.NDArray[np.uint32] | None]
"""The (h, w) ids of a box; None where it is known to hold none."""


class LabelPyramid:
    """The levels of a map of shape (height, width).

    Ids have no mean: a level is every second pixel of the one before, so that
    its pixel i lies on pixel 2 i, with the same translation. `world` is the
    map's: where its source has it, so that a viewer lays the one on the other.
    """

    def __init__(self, path: Path, shape: tuple[int, int], *, name: str, world: WorldFrame) -> None:
        self._path = path
        self.shapes = [shape]
        while max(shape) > PYRAMID_FROM_PX and max(self.shapes[-1]) > CHUNK_PX:
            height, width = self.shapes[-1]
            self.shapes.append((-(-height // 2), -(-width // 2)))
        ome = _metadata(len(self.shapes), name=name, world=world)
        self._files = metadata_of(lambda store: _create(store, self.shapes, ome))

    def boxes(self, level: int, band: int) -> list[Box]:
        """The shards of a band, in pixels of its level."""
        (height, width), shape = _shard(self.shapes[level]), self.shapes[level]
        return [
            Box(band * height, x, (band + 1) * height, x + width).clip(shape)
            for x in range(0, shape[1], width)
        ]

    def bands(self, level: int) -> int:
        """Number of bands of a level."""
        return -(-self.shapes[level][0] // _shard(self.shapes[level])[0])

    def draw(
        self, level: int, band: int, read: ReadPart
    ) -> Iterator[tuple[Box, npt.NDArray[np.uint32]]]:
        """Write a band of a level; yields its parts that hold a nucleus, as they are written.

        `read` gives pixels of the map for level 0, and of the level before for others.
        """
        import zarr

        put_metadata(self._path, self._files)
        array: Any = zarr.open_array(self._path / str(level), mode="r+")
        step = 2 if level else 1
        limit = self.shapes[max(0, level - 1)]
        for number, box in enumerate(self.boxes(level, band)):
            source = Box(box.y0 * step, box.x0 * step, box.y1 * step, box.x1 * step).clip(limit)
            part = read(source)
            if part is None or not part.any():
                continue
            part = np.ascontiguousarray(part[::step, ::step])
            if part.any():
                array[box.slices] = part
                # a note that it is drawn must not outlast it
                sync(self._path / str(level) / "c" / str(band) / str(number))
                yield box, part

    def reader(self, level: int) -> Callable[[Box], npt.NDArray[np.uint32]]:
        """A function that reads boxes of a level that is drawn."""
        import zarr

        array: Any = zarr.open_array(self._path / str(level), mode="r")
        return lambda box: np.asarray(array[box.slices])

    def finish(self) -> None:
        """Have the metadata there, also if nothing was drawn."""
        put_metadata(self._path, self._files)


def _shard(shape: tuple[int, int]) -> tuple[int, int]:
    chunk = _chunk(shape)
    height, width = (
        side * min(CHUNKS_PER_SHARD, -(-length // side))
        for side, length in zip(chunk, shape, strict=True)
    )
    return height, width


def _chunk(shape: tuple[int, int]) -> tuple[int, int]:
    return min(CHUNK_PX, shape[0]), min(CHUNK_PX, shape[1])


def _create(store: Any, shapes: list[tuple[int, int]], ome: dict[str, Any]) -> None:
    import zarr
    from zarr.codecs import BloscCodec, BloscShuffle

    group = zarr.create_group(store, zarr_format=3)
    for index, shape in enumerate(shapes):
        group.create_array(
            str(index),
            shape=shape,
            chunks=_chunk(shape),
            shards=_shard(shape),
            dtype=np.uint32,
            compressors=[BloscCodec(cname="zstd", clevel=3, shuffle=BloscShuffle.shuffle)],
            dimension_names=("y", "x"),
        )
    group.attrs["ome"] = ome


def _metadata(levels: int, *, name: str, world: WorldFrame) -> dict[str, Any]:
    unit = {"unit": world.unit} if world.unit else {}
    moved = [{"type": "translation", "translation": list(world.translation)}]
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": name,
                "axes": [{"name": axis, "type": "space", **unit} for axis in "yx"],
                "datasets": [
                    {
                        "path": str(level),
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [2.0**level * side for side in world.scale]},
                            *(moved if any(world.translation) else ()),
                        ],
                    }
                    for level in range(levels)
                ],
            }
        ],
        "image-label": {},
    }
