"""Whole slides in DICOM: a file, or a folder of the files of a series, each a level of a slide."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.geometry import Box
from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.channels import name_channels
from nucleipel.io.slides.formats.dicom_frames import Frames
from nucleipel.io.slides.formats.dicom_header import Header, read_header
from nucleipel.io.slides.formats.dicom_tiles import Tile, find_tiles
from nucleipel.io.slides.formats.series import Series, choose_series
from nucleipel.io.slides.formats.stored_image import (
    RGB,
    Level,
    Pixels,
    SourceFrame,
    StoredImage,
    downsample_of,
)
from nucleipel.io.slides.formats.suffixes import is_dicom

CACHED_BYTES = 2**26
"""Decoded tiles of a level that are kept."""
LARGEST_SKEW = 0.05
PHOTOMETRICS = (
    "RGB", "MONOCHROME1", "MONOCHROME2", "YBR_ICT", "YBR_RCT", "YBR_FULL", "YBR_FULL_422",
)  # fmt: skip


def open_dicom(path: Path, *, series: int | str | None = None, ids: bool = False) -> StoredImage:
    """Open a DICOM file, or a folder of them; parameters and errors as `open_image`."""
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if is_dicom(p))
    held = _by_series([read_header(file) for file in files])
    described = [_describe(headers) for headers in held]
    chosen = choose_series(path, described, series)
    levels = _levels_of(path, held[chosen])
    opened = ExitStack()
    try:
        return _build(path, levels, opened, described, chosen)
    except BaseException:
        opened.close()
        raise


def _by_series(headers: Sequence[Header]) -> list[list[Header]]:
    """Headers of each series: all of its levels, then each picture of the glass on its own."""
    held = []
    for name in dict.fromkeys(header.series for header in headers):
        mine = [header for header in headers if header.series == name]
        levels = [header for header in mine if not header.flavor]
        held += [levels] if levels else []
        held += [[header] for header in mine if header.flavor]
    return held


def _describe(headers: Sequence[Header]) -> Series:
    largest = max(headers, key=lambda header: header.shape[0] * header.shape[1])
    return Series(largest.description, largest.shape, largest.flavor)


def _levels_of(path: Path, headers: Sequence[Header]) -> list[list[Header]]:
    """The files of each level, the finest level first."""
    for header in headers:
        _require_usable(header, headers[0])
    shapes = sorted({header.shape for header in headers}, reverse=True)
    for shape in shapes:
        ratios = [whole / part for whole, part in zip(shapes[0], shape, strict=True)]
        rounding = 1 / min(shape)
        if abs(ratios[0] / ratios[1] - 1) > LARGEST_SKEW + rounding:
            raise ImageError(
                f"{path}: its levels are of {shapes[0][0]} x {shapes[0][1]} and {shape[0]} x"
                f" {shape[1]} px, which are not of one slide; put each slide into its own folder"
            )
    return [[header for header in headers if header.shape == shape] for shape in shapes]


def _require_usable(header: Header, first: Header) -> None:
    if (header.samples, header.bits) != (first.samples, first.bits):
        raise ImageError(
            f"{header.file}: {header.samples} samples of {header.bits} bit, but {first.file.name}"
            f" has {first.samples} of {first.bits}; expected one kind; export the slide again"
        )
    if header.depths > 1 or len({place.depth for place in header.places or ()}) > 1:
        raise ImageError(f"{header.file}: a stack of focal planes; expected one; export one plane")
    if header.photometric not in PHOTOMETRICS:
        raise ImageError(
            f"{header.file}: photometric {header.photometric or 'not stated'}; expected gray or"
            " RGB; convert it"
        )


def _build(
    path: Path,
    levels: list[list[Header]],
    opened: ExitStack,
    held: Sequence[Series],
    chosen: int,
) -> StoredImage:
    first, color = levels[0][0], levels[0][0].samples == 3
    paths = list(dict.fromkeys(optical for header in levels[0] for optical in header.paths))
    paths = paths[:1] if color else paths
    loaders, files = [], 0
    for headers in levels:
        frames = [opened.enter_context(closing(Frames(header))) for header in headers]
        for one in frames:
            one.require_whole()
        files += len(frames)
        loaders.append(_loader(frames, [name for name, _ in paths]))
    many = "s" if files > 1 else ""
    return StoredImage(
        path=path,
        container=f"DICOM, {files} file{many}, frames of {first.frame[0]} x {first.frame[1]} px",
        levels=tuple(
            Level(headers[0].shape, downsample_of(headers[0].shape, first.shape), load)
            for headers, load in zip(levels, loaders, strict=True)
        ),
        dtype=_dtype(first),
        channels=RGB if color else name_channels([name for _, name in paths], len(paths)),
        photometric=f"{first.photometric}, read as {'RGB' if color else 'gray'}",
        pixel_sizes=first.sizes,
        series=tuple(held),
        source=SourceFrame(series=chosen),
        close=opened.close,
    )


def _dtype(header: Header) -> np.dtype[Any]:
    return np.dtype(np.uint16 if header.bits == 16 else np.uint8)


def _loader(files: Sequence[Frames], paths: Sequence[str]) -> Callable[[Box], Pixels]:
    """Reads a box of a level; what was not scanned is white in color, else 0."""
    header = files[0].header
    (height, width), samples = header.frame, header.samples
    places = find_tiles(files, paths)
    ground = 2**header.bits - 1 if samples == 3 else 0

    @lru_cache(maxsize=max(4, CACHED_BYTES // files[0].bytes))
    def pixels_of(tile: Tile) -> Pixels:
        file, index = places[tile]
        return file.read(index)

    def load(box: Box) -> Pixels:
        pixels = np.full((*box.shape, samples * len(paths)), ground, _dtype(header))
        for row in range(box.y0 // height, -(-box.y1 // height)):
            for column in range(box.x0 // width, -(-box.x1 // width)):
                y, x = row * height, column * width
                y0, x0 = max(box.y0, y), max(box.x0, x)
                y1, x1 = min(box.y1, y + height), min(box.x1, x + width)
                inside = (slice(y0 - box.y0, y1 - box.y0), slice(x0 - box.x0, x1 - box.x0))
                for number, path in enumerate(paths):
                    if (row, column, path) in places:
                        tile = pixels_of((row, column, path))[y0 - y : y1 - y, x0 - x : x1 - x]
                        pixels[(*inside, slice(number * samples, (number + 1) * samples))] = tile
        return pixels

    return load
