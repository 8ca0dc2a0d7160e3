"""The region of an image that was annotated completely: from a file to polygons.

A file is GeoJSON or GeoParquet, in pixels of level 0, or a picture of the whole
image, of its shape or smaller, in which anything but 0 was annotated. A picture
becomes polygons too: one rectangle a run of pixels, equal runs joined.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from nucleipel.core.atomic import write_text
from nucleipel.core.geometry import Box
from nucleipel.core.measured_nuclei import closed_xy
from nucleipel.errors import ImageError
from nucleipel.io.annotations.geojson import read_features
from nucleipel.io.annotations.geoparquet import read_rows
from nucleipel.io.annotations.polygons import UNITS, Polygons
from nucleipel.io.slides.formats import StoredImage, open_image

GEOJSON_SUFFIXES = (".geojson", ".geojson.gz", ".json")
PARQUET_SUFFIXES = (".parquet", ".geoparquet")
NO_REGIONS = ("detection", "cell", "tile", "root")
STRIP_PX = 2**22
COARSE_PX = 4096
"""Pieces of a picture are separated on a copy that is no wider."""
MOST_RUNS = 2_000_000


def is_polygon_file(path: Path) -> bool:
    """Return whether a file's name says that it holds polygons."""
    return path.name.lower().endswith(GEOJSON_SUFFIXES + PARQUET_SUFFIXES)


def read_region(path: Path, shape: tuple[int, int]) -> Polygons:
    """The annotated areas of an image of shape (height, width), one a region that was drawn.

    Raises
    ------
    ImageError
        If the file is missing or cannot be read, if it holds no area, if one lies
        outside the image, or if a picture has another aspect ratio.
    """
    if not path.exists():
        raise ImageError(f"{path}: no such file; check the path of the region")
    if not is_polygon_file(path):
        return _read_picture(path, shape)
    in_rows = path.name.lower().endswith(PARQUET_SUFFIXES)
    numbered = [
        (feature.number, feature.outline)
        for feature in (read_rows(path, shape) if in_rows else read_features(path))
        if feature.kind not in NO_REGIONS and feature.outline
    ]
    if not numbered:
        raise ImageError(f"{path}: holds no region; expected polygons of what was annotated")
    areas = Polygons.of_outlines(outline for _, outline in numbered)
    require_on_image(path, areas, [number for number, _ in numbered], shape)
    return areas


def require_on_image(
    path: Path, areas: Polygons, numbers: Sequence[int], shape: tuple[int, int]
) -> None:
    """Check that each region lies, in part at least, on an image of shape (height, width).

    Raises
    ------
    ImageError
        If one does not; `numbers` are those of the features.
    """
    inside = set(areas.touching((0, 0, *shape)).tolist())
    for place in range(len(areas)):
        if place not in inside:
            raise ImageError(
                f"{path}: feature {numbers[place]}: this region lies outside the image of"
                f" {shape[0]} x {shape[1]} px; is it another image's, or in micrometers?"
            )


def write_region(path: Path, areas: Polygons, *, names: Sequence[str] = ()) -> None:
    """Write regions as GeoJSON that QuPath opens: one annotation an area, one a line.

    With `names`, one an area, they have QuPath's class for regions.
    """
    lines = []
    for place in range(len(areas)):
        rings = [[closed_xy(ring).tolist() for ring in part] for part in areas.outline(place)]
        feature = {
            "type": "Feature",
            "properties": {"objectType": "annotation", **_named(names, place)},
            "geometry": {"type": "MultiPolygon", "coordinates": rings},
        }
        lines.append(json.dumps(feature, separators=(",", ":")))
    body = ",\n".join(lines)
    write_text(path, f'{{"type":"FeatureCollection","features":[\n{body}\n]}}\n')


def _named(names: Sequence[str], place: int) -> dict[str, Any]:
    return {"name": names[place], "classification": {"name": "Region*"}} if names else {}


def piece_boxes(areas: Polygons, shape: tuple[int, int]) -> list[Box]:
    """Disjoint boxes around areas, clipped to an image of shape (height, width).

    Areas whose boxes overlap have one box together, in the place of the first.
    """
    kept = np.empty((0, 5), np.int64)  # the place of the first, then the box
    for place, box in enumerate(np.clip(areas.boxes, 0, [*shape, *shape])):
        joined = np.array([[place, *box]])
        while True:
            y0, x0, y1, x1 = joined[0, 1:]
            hits = (kept[:, 1] < y1) & (kept[:, 3] > y0) & (kept[:, 2] < x1) & (kept[:, 4] > x0)
            if not hits.any():
                break
            parts = np.concatenate([joined, kept[hits]])
            joined = np.concatenate([parts[:, :3].min(axis=0), parts[:, 3:].max(axis=0)])[None]
            kept = kept[~hits]
        kept = np.concatenate([kept, joined])
    return [Box(*map(int, row[1:])) for row in kept[np.argsort(kept[:, 0])]]


def _read_picture(path: Path, shape: tuple[int, int]) -> Polygons:
    picture = open_image(path)
    try:
        scale = _scale_of(path, picture, shape)
        runs, coarse, step = _runs(path, picture)
    finally:
        picture.close()
    count, pieces = cv2.connectedComponents(coarse, connectivity=8)
    piece = pieces[runs[:, 0] // step, runs[:, 2] // step]
    runs = runs[np.argsort(piece, kind="stable")]
    sizes = np.bincount(piece, minlength=count)[1:]
    return _rectangles(runs, sizes, scale)


def _scale_of(path: Path, picture: StoredImage, shape: tuple[int, int]) -> tuple[float, float]:
    """Pixels of level 0 per pixel of the picture, along both axes: much the same.

    Raises
    ------
    ImageError
        If they are not.
    """
    if "JPEG" in picture.container:
        raise ImageError(f"{path}: JPEG blurs the region's edges; save it as PNG or TIFF")
    height, width = picture.shape
    off = abs(height - shape[0] * width / shape[1])
    if off > 1 + shape[0] / shape[1] or height > shape[0] or width > shape[1]:
        raise ImageError(
            f"{path}: the region is a picture of {height} x {width} px, its image has {shape[0]} x"
            f" {shape[1]} px; expected the same, or a smaller picture of the whole image"
        )
    return shape[0] / height, shape[1] / width


def _runs(
    path: Path, picture: StoredImage
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8], int]:
    """Rectangles (n, 4) of y0, y1, x0, x1 that are not 0; a coarse copy, and its pixel's side."""
    height, width = picture.shape
    step = -(-max(height, width) // COARSE_PX)
    coarse = np.zeros((-(-height // step), -(-width // step)), np.uint8)
    runs: list[npt.NDArray[np.int64]] = []
    rows = max(STRIP_PX // width // step, 1) * step
    for top in range(0, height, rows):
        strip = Box(top, 0, min(top + rows, height), width)
        held = np.logical_or.reduce(picture.read(0, strip), axis=-1)
        edges = np.diff(np.pad(held, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        row, start = np.nonzero(edges == 1)
        stop = np.nonzero(edges == -1)[1]
        runs.append(np.stack([row + top, row + top + 1, start, stop], axis=1))
        if sum(map(len, runs)) > MOST_RUNS:
            raise ImageError(f"{path}: the region has over {MOST_RUNS:,} edges; draw it coarser")
        columns = np.logical_or.reduceat(held, np.arange(0, width, step), axis=1)
        part = np.logical_or.reduceat(columns, np.arange(0, len(held), step), axis=0)
        coarse[top // step : top // step + len(part)] = part
    if not coarse.any():
        raise ImageError(f"{path}: holds no region: all of it is 0")
    return _joined(np.concatenate(runs)), coarse, step


def _joined(runs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The rectangles with those that continue one another downwards made one."""
    order = np.lexsort((runs[:, 0], runs[:, 3], runs[:, 2]))
    runs = runs[order]
    begins = np.ones(len(runs), bool)
    begins[1:] = (runs[1:, 2:] != runs[:-1, 2:]).any(axis=1) | (runs[1:, 0] != runs[:-1, 1])
    first = np.flatnonzero(begins)
    joined = runs[first]
    joined[:, 1] = runs[np.append(first[1:], len(runs)) - 1, 1]
    return joined


def _rectangles(
    runs: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], scale: tuple[float, float]
) -> Polygons:
    """Areas of so many rectangles each; one ring a polygon."""
    y = np.rint(runs[:, :2] * scale[0] * UNITS).astype(np.int32)
    x = np.rint(runs[:, 2:] * scale[1] * UNITS).astype(np.int32)
    corners = np.stack([y[:, [0, 0, 1, 1]], x[:, [0, 1, 1, 0]]], axis=-1).reshape(-1, 2)
    each = np.arange(len(runs) + 1, dtype=np.int64)
    areas = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Polygons.of_ranges(corners, 4 * each, each, areas)
