"""The two files of an instance map, OME-Zarr and OME-TIFF, drawn band by band from the same pixels.

A band writes its shards of the zarr pyramid, and keeps its tiles of the TIFF,
compressed, in the scratch; at the end the TIFF is put together from them.
"""

import uuid
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.scratch import Scratch
from nucleipel.io.nuclei.label_pyramid import LabelPyramid, ReadPart
from nucleipel.io.slides.resolution import Resolution

INSTANCE_MAP = "instances.ome.tif"
TILE_PX = 512
BIGTIFF_FROM_BYTES = 2**31


class DrawnMap:
    """The files of a map in `folder`.

    Parameters
    ----------
    folder : Path
        Where they are made.
    scratch : Scratch
        Where the tiles of the TIFF wait.
    shape : (height, width)
    name : str
        Of the image.
    frame : Resolution
        Of the map.
    kind : {"instances", "cells"}
        What is drawn: the name of the files.
    """

    def __init__(
        self,
        folder: Path,
        scratch: Scratch,
        shape: tuple[int, int],
        *,
        name: str,
        frame: Resolution,
        kind: str = "instances",
    ) -> None:
        self._folder, self._scratch, self._mpp, self._kind = folder, scratch, frame.mpp, kind
        labels = folder / f"{kind}.zarr"
        self._pyramid = LabelPyramid(labels, shape, name=name, world=frame.world())
        self.levels = len(self._pyramid.shapes)

    def bands(self, level: int) -> int:
        """Number of bands of a level."""
        return self._pyramid.bands(level)

    def is_drawn(self, level: int, band: int) -> bool:
        """Return whether `draw` has done a band."""
        return self._name(level, band) in self._scratch

    def draw(self, level: int, band: int, read: ReadPart | None = None) -> None:
        """Draw a band of a level, from what `read` gives, or from the level before.

        Its `tiles` are compressed, one after another in raster order, without those of zeros
        alone; `sizes` (rows, columns) has their bytes, `filled` which of the shards hold a nucleus.
        """
        boxes = self._pyramid.boxes(level, band)
        columns = -(-self._pyramid.shapes[level][1] // TILE_PX)
        sizes = np.zeros((-(-boxes[0].shape[0] // TILE_PX), columns), np.int64)
        filled, tiles = np.zeros(len(boxes), bool), {}
        drawn = self._pyramid.draw(level, band, read or self._reader_of_level(level - 1))
        for box, part in drawn:
            filled[boxes.index(box)] = True
            for y in range(0, part.shape[0], TILE_PX):
                for x in range(0, part.shape[1], TILE_PX):
                    tile = part[y : y + TILE_PX, x : x + TILE_PX]
                    if tile.any():
                        place = y // TILE_PX, (box.x0 + x) // TILE_PX
                        tiles[place] = _encode(tile)
                        sizes[place] = len(tiles[place])
        content = b"".join(tiles[place] for place in sorted(tiles))
        self._scratch.put(
            self._name(level, band),
            {"tiles": np.frombuffer(content, np.uint8), "sizes": sizes, "filled": filled},
        )

    def finish(self, unique: uuid.UUID) -> None:
        """Write the TIFF, once all bands are drawn; `unique` names this set of nuclei."""
        import tifffile

        self._pyramid.finish()
        named = {"axes": "YX", "Name": self._kind, "UUID": f"urn:uuid:{unique}"}
        metadata: dict[str, object] = dict(named)
        resolution: dict[str, object] = {}
        if self._mpp is not None:
            metadata |= {"PhysicalSizeX": self._mpp, "PhysicalSizeXUnit": "µm"}
            metadata |= {"PhysicalSizeY": self._mpp, "PhysicalSizeYUnit": "µm"}
            per_cm = 1e4 / self._mpp
            resolution = {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
        shapes = self._pyramid.shapes
        size = sum(4 * height * width for height, width in shapes)
        path = self._folder / f"{self._kind}.ome.tif"
        with tifffile.TiffWriter(path, ome=True, bigtiff=size > BIGTIFF_FROM_BYTES) as writer:
            for level, shape in enumerate(shapes):
                more = {"subfiletype": 1} if level else {"subifds": len(shapes) - 1, **resolution}
                writer.write(
                    self._tiles(level),
                    shape=shape,
                    dtype=np.uint32,
                    tile=(TILE_PX, TILE_PX),
                    compression="zlib",
                    predictor=True,
                    metadata=None if level else metadata,
                    **more,
                )

    def _reader_of_level(self, level: int) -> ReadPart:
        """Reads a drawn level, but not where nothing was drawn."""
        read = self._pyramid.reader(level)
        side = self._pyramid.boxes(level, 0)[0].shape

        def read_part(box: Box) -> npt.NDArray[np.uint32] | None:
            rows = range(box.y0 // side[0], -(-box.y1 // side[0]))
            columns = slice(box.x0 // side[1], -(-box.x1 // side[1]))
            filled = (
                self._scratch.get(self._name(level, row), "filled")["filled"][columns]
                for row in rows
            )
            return read(box) if any(part.any() for part in filled) else None

        return read_part

    def _tiles(self, level: int) -> Iterator[bytes]:
        """The compressed tiles of a level in raster order."""
        for band in range(self.bands(level)):
            kept = self._scratch.get(self._name(level, band), "tiles", "sizes")
            content, at = kept["tiles"].tobytes(), 0
            for size in kept["sizes"].ravel().tolist():
                yield content[at : at + size] if size else self._empty
                at += size

    def _name(self, level: int, band: int) -> str:
        return f"{self._kind}-level-{level}-{band}"

    @cached_property
    def _empty(self) -> bytes:
        return _encode(np.zeros((TILE_PX, TILE_PX), np.uint32))


def _encode(tile: npt.NDArray[np.uint32]) -> bytes:
    """A tile as TIFF has it: filled up with zeros, differences along the rows, deflate."""
    missing = [(0, TILE_PX - length) for length in tile.shape]
    differences: Any = imagecodecs.delta_encode(np.pad(tile, missing), axis=-1)
    return bytes(imagecodecs.zlib_encode(differences))
