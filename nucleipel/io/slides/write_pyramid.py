"""Writing a slide of any size as a pyramid, tile by tile: memory is bounded, repeats are free.

All levels are made in one pass: while the finest goes to the disk, each coarser
one fills a strip of one row of tiles, is encoded, and waits as JPEG or deflate.
Most of a slide is glass; boxes of equal pixels are read and encoded once.
"""

from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nucleipel.core.atomic import replacing
from nucleipel.core.geometry import Box
from nucleipel.io.slides.write_slide import TILE_PX, physical_size

Pixels = npt.NDArray[Any]
STEP = 4
"""Between the levels of a written pyramid, as Aperio has it."""
SMALLEST_LEVEL_PX = 1024
JPEG_LEVEL = 85


def write_pyramid(
    path: Path,
    shape: tuple[int, int],
    read: Callable[[Box], Pixels],
    *,
    mpp: float | None,
    repeats: Callable[[Box], Hashable] = lambda box: None,
) -> None:
    """Write a slide of (height, width) px as an OME-TIFF with pyramid; `path` ends in .ome.tif.

    Color of 8 bit becomes JPEG; anything else is kept without loss. Channels of
    16 bit become planes (CYX). Each level is `STEP` times coarser than the one
    before, sides rounded down.

    Parameters
    ----------
    read : callable
        Gives the (h, w, C) uint8 or uint16 pixels of a box, at most one tile of it.
    mpp : float, optional
        Micrometers per pixel of the finest level, for the header.
    repeats : callable
        Gives a key of a box. Boxes of one key and size hold the same pixels;
        None means that nobody knows of others.
    """
    import tifffile

    sizes = [shape]
    while max(sizes[-1]) > SMALLEST_LEVEL_PX:
        sizes.append((sizes[-1][0] // STEP, sizes[-1][1] // STEP))
    sample = read(Box(0, 0, 1, 1))
    channels, color = sample.shape[-1], sample.dtype == np.uint8 and sample.shape[-1] == 3
    planes = [slice(None)] if color else [slice(c, c + 1) for c in range(channels)]
    levels = [_Levels(sizes, sample[..., plane], color) for plane in planes]
    options = {"tile": (TILE_PX, TILE_PX), "dtype": sample.dtype, **_codec(color)}
    lead, axes = ((), "YX") if len(planes) == 1 else ((channels,), "CYX")
    tail, axes = ((3,), axes + "S") if color else ((), axes)
    with (
        replacing(path) as temporary,
        tifffile.TiffWriter(temporary, ome=True, bigtiff=True) as tiff,
    ):
        for index, size in enumerate(sizes):
            finest = (
                tile
                for plane, level in zip(planes, levels, strict=True)
                for tile in level.pass_over(_plane_reader(read, plane), repeats)
            )
            coarser = (tile for level in levels for tile in level.encoded(index))
            tiff.write(
                finest if index == 0 else coarser,
                shape=(*lead, *size, *tail),
                metadata={"axes": axes, **physical_size(mpp)} if index == 0 else None,
                **({"subfiletype": 1} if index else {"subifds": len(sizes) - 1}),
                **options,
            )


def write_tiled_annotation(
    path: Path,
    shape: tuple[int, int],
    read: Callable[[Box], npt.NDArray[np.uint32]],
) -> None:
    """Write an instance map of (height, width) px; `read` gives the (h, w) ids of a box."""
    import tifffile

    level = _Levels([shape], np.zeros((1, 1, 1), np.uint32), False)
    read_once: dict[Box, Pixels] = {}

    def repeats(box: Box) -> Hashable:
        read_once.clear()
        read_once[box] = read(box)[..., None]
        return None if read_once[box].any() else "empty"

    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            level.pass_over(read_once.__getitem__, repeats),
            shape=shape,
            dtype=np.uint32,
            tile=(TILE_PX, TILE_PX),
            bigtiff=True,
            **_codec(False),
        )


class _Levels:
    """A level of one plane, and through it all that are coarser.

    Tiles arrive row by row; what a coarser level needs of them is kept in a
    strip as high as one row of its tiles.
    """

    def __init__(self, sizes: list[tuple[int, int]], sample: Pixels, color: bool) -> None:
        self._size = sizes[0]
        self._encode = _encode_jpeg if color else _encode_deflate
        self._known: dict[Hashable, tuple[int, bytes, Pixels | None]] = {}
        self._tiles: list[bytes] = []
        self._coarser = _Levels(sizes[1:], sample, color) if len(sizes) > 1 else None
        width = -(-self._size[1] // TILE_PX) * TILE_PX
        self._strip = np.zeros((TILE_PX, width, sample.shape[-1]), sample.dtype)
        self._keys: dict[tuple[int, int], int | None] = {}

    def encoded(self, index: int) -> list[bytes]:
        """The tiles of a coarser level, after the finest was passed over; 0 is this one."""
        return (
            self._tiles if index == 0 or self._coarser is None else self._coarser.encoded(index - 1)
        )

    def pass_over(
        self, read: Callable[[Box], Pixels], repeats: Callable[[Box], Hashable]
    ) -> Iterator[bytes]:
        """The finest level's tiles, encoded, in raster order; the coarser ones follow."""
        for y in range(0, self._size[0], TILE_PX):
            for x in range(0, self._size[1], TILE_PX):
                box = Box(y, x, y + TILE_PX, x + TILE_PX).clip(self._size)
                tile = self._add(box, repeats, read)
                if self._coarser is not None and box.x1 == self._size[1]:
                    self._coarser._follow(y // TILE_PX, last=box.y1 == self._size[0])
                yield tile  # nothing may come after the last one: the writer does not return

    def _add(
        self, box: Box, repeats: Callable[[Box], Hashable], read: Callable[[Box], Pixels]
    ) -> bytes:
        key = repeats(box)
        known = self._known.get((key, box.shape)) if key is not None else None
        if known is None:
            pixels = read(box)
            small = None if self._coarser is None else _shrunk(pixels)
            known = len(self._known), self._encode(_padded(pixels)), small
            if key is not None:
                self._known[key, box.shape] = known
        number, encoded, small = known
        if self._coarser is not None and small is not None:
            self._coarser._put(box, small, None if key is None else number)
        return encoded

    def _put(self, finer: Box, small: Pixels, key: int | None) -> None:
        """Take what a tile of the finer level leaves on this one."""
        y, x = finer.y0 // STEP % TILE_PX, finer.x0 // STEP
        self._strip[y : y + small.shape[0], x : x + small.shape[1]] = small
        self._keys[finer.y0 // TILE_PX % STEP, finer.x0 // TILE_PX] = key

    def _follow(self, finer_row: int, *, last: bool) -> None:
        """After a row of tiles of the finer level: encode the strip if it is complete."""
        if finer_row % STEP != STEP - 1 and not last:
            return
        row = finer_row // STEP
        y = row * TILE_PX
        if y < self._size[0]:
            for x in range(0, self._size[1], TILE_PX):
                box = Box(y, x, y + TILE_PX, x + TILE_PX).clip(self._size)
                self._tiles.append(self._add(box, self._parts, self._from_strip))
            if self._coarser is not None:
                self._coarser._follow(row, last=last or y + TILE_PX >= self._size[0])
        self._keys.clear()

    def _parts(self, box: Box) -> Hashable:
        columns = range(box.x0 // TILE_PX * STEP, -(-box.x1 // TILE_PX) * STEP)
        keys = tuple(self._keys.get((row, column)) for row in range(STEP) for column in columns)
        return None if None in keys else keys

    def _from_strip(self, box: Box) -> Pixels:
        return self._strip[: box.y1 - box.y0, box.x0 : box.x1]


def _plane_reader(read: Callable[[Box], Pixels], plane: slice) -> Callable[[Box], Pixels]:
    return lambda box: read(box)[..., plane]


def _shrunk(pixels: Pixels) -> Pixels:
    height, width = (length // STEP for length in pixels.shape[:2])
    if not height or not width:
        return pixels[:0, :0]
    inside = np.ascontiguousarray(pixels[: height * STEP, : width * STEP])
    small = cv2.resize(inside, (width, height), interpolation=cv2.INTER_AREA)
    return small.reshape(height, width, -1)


def _padded(pixels: Pixels) -> Pixels:
    missing = [(0, TILE_PX - length) for length in pixels.shape[:2]]
    return np.ascontiguousarray(np.pad(pixels, [*missing, (0, 0)], mode="edge"))


def _codec(color: bool) -> dict[str, Any]:
    if color:
        return {"photometric": "rgb", "compression": "jpeg", "subsampling": (2, 2)}
    return {"photometric": "minisblack", "compression": "zlib", "predictor": True}


def _encode_jpeg(tile: Pixels) -> bytes:
    import imagecodecs

    return bytes(
        imagecodecs.jpeg8_encode(
            tile, level=JPEG_LEVEL, colorspace="RGB", outcolorspace="YCBCR", subsampling=(2, 2)
        )
    )


def _encode_deflate(tile: Pixels) -> bytes:
    import imagecodecs

    changes: Any = imagecodecs.delta_encode(tile, axis=-2)
    return bytes(imagecodecs.deflate_encode(changes, level=1, raw=False))
