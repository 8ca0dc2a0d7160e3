"""An instance map as OME-Zarr 0.5 labels: `instances.zarr`, a pyramid when it is large.

instances.zarr/zarr.json    zarr v3 group; `ome`: version, multiscales, image-label
instances.zarr/0            (H, W) uint32; 1, 2, ... every second pixel of the one before
"""

from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.io.slides.resolution import WorldFrame

LABELS = "instances.zarr"
PYRAMID_FROM_PX = 4096
CHUNK_PX = 512
CHUNKS_PER_SHARD = 4


def write_label_pyramid(
    path: Path, instance_map: Any, *, name: str, world: WorldFrame
) -> list[Any]:
    """Write a map (H, W) uint32 that is read by parts; returns the zarr arrays of its levels.

    Ids have no mean: a level is every second pixel of the one before, so that
    its pixel i lies on pixel 2 i, with the same translation. `world` is the map's: where
    its source has it, so that a viewer lays the one on the other.
    """
    import zarr

    group = zarr.create_group(path, zarr_format=3)
    levels = [_create(group, 0, instance_map.shape)]
    _copy(instance_map, levels[0], step=1)
    while max(instance_map.shape) > PYRAMID_FROM_PX and max(levels[-1].shape) > CHUNK_PX:
        height, width = (-(-length // 2) for length in levels[-1].shape)
        levels.append(_create(group, len(levels), (height, width)))
        _copy(levels[-2], levels[-1], step=2)
    group.attrs["ome"] = _metadata(len(levels), name=name, world=world)
    return levels


def _create(group: Any, index: int, shape: tuple[int, int]) -> Any:
    from zarr.codecs import BloscCodec, BloscShuffle

    chunk = tuple(min(CHUNK_PX, length) for length in shape)
    shard = tuple(
        side * min(CHUNKS_PER_SHARD, -(-length // side))
        for side, length in zip(chunk, shape, strict=True)
    )
    return group.create_array(
        str(index),
        shape=shape,
        chunks=chunk,
        shards=shard,
        dtype=np.uint32,
        compressors=[BloscCodec(cname="zstd", clevel=3, shuffle=BloscShuffle.shuffle)],
        dimension_names=("y", "x"),
    )


def _copy(source: Any, target: Any, *, step: int) -> None:
    """Fill `target` with every `step`-th pixel of `source`, one whole shard after the other."""
    height, width = target.shards
    for y in range(0, target.shape[0], height):
        for x in range(0, target.shape[1], width):
            part = np.asarray(source[y * step : (y + height) * step, x * step : (x + width) * step])
            target[y : y + height, x : x + width] = part[::step, ::step]


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
