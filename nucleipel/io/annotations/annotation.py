"""What people know of an image: its nuclei, and the region in which they marked all of them.

Nuclei are an instance map of the image's shape, or polygons in pixels of level
0. Polygons are never drawn as a whole: a window of them is what the same window
of the map would be that `import` draws. Without a region all of the image was
annotated; with one, nothing is known outside of it, as beyond an image's edge.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.core.resample import centers
from nucleipel.errors import ImageError
from nucleipel.io.annotations.geojson import read_features
from nucleipel.io.annotations.geoparquet import read_outlines
from nucleipel.io.annotations.polygons import Polygons
from nucleipel.io.annotations.raster import contains, covered, draw_ids, pixel_areas
from nucleipel.io.annotations.region import (
    PARQUET_SUFFIXES,
    is_polygon_file,
    piece_boxes,
    read_region,
)
from nucleipel.io.annotations.roles import assign_roles
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import open_annotation, read_mirrored

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class DrawnNuclei:
    """Polygons of nuclei, and the pixels (n,) that each covers on its image."""

    polygons: Polygons
    sizes: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """The annotation of one image; small enough to be held, whatever the image's size.

    Parameters
    ----------
    label : Path or DrawnNuclei
        The file of an instance map, which is opened when it is read; or polygons.
    region : Polygons, optional
        What was annotated completely; all of the image if None.
    shape : (height, width) of level 0
    """

    label: Path | DrawnNuclei
    region: Polygons | None
    shape: tuple[int, int]

    @contextmanager
    def open(self, resolution: Resolution) -> Iterator["AnnotationReader"]:
        """Give a reader in the working frame of `resolution`, that of the image.

        Raises
        ------
        ImageError
            If an instance map cannot be opened.
        """
        if isinstance(self.label, Path):
            with open_annotation(self.label, resolution=resolution) as instance_map:
                yield AnnotationReader(resolution, instance_map.read, self.region)
            return
        nuclei = self.label

        def read(box: Box) -> npt.NDArray[np.integer]:
            rows, columns = _under_centers(box, resolution)
            return draw_ids(nuclei.polygons, nuclei.sizes, rows, columns)

        def read_overhanging(box: Box) -> npt.NDArray[np.integer]:
            return read_mirrored(box, resolution.shape, read)

        yield AnnotationReader(resolution, read_overhanging, self.region)

    def pieces(self, resolution: Resolution) -> list[Box]:
        """Disjoint boxes of the working frame that together hold all that was annotated."""
        if self.region is None:
            return [Box.of_shape(resolution.shape)]
        boxes = [_in_frame(box, resolution) for box in piece_boxes(self.region, self.shape)]
        return [box for box in boxes if min(box.shape) > 0]


@dataclass(frozen=True, slots=True)
class AnnotationReader:
    """Nuclei and region in a working frame; what overhangs the image is mirrored like its pixels.

    `read` gives the ids (H, W) of a box, 0 for background; also those of nuclei
    outside of the region.
    """

    resolution: Resolution
    read: Callable[[Box], npt.NDArray[np.integer]]
    region: Polygons | None

    def counted(self, box: Box) -> npt.NDArray[np.bool_] | None:
        """Whether each pixel (H, W) of a box was annotated; None if all of the image was."""
        if self.region is None:
            return None
        region = self.region

        def read(part: Box) -> npt.NDArray[np.bool_]:
            return covered(region, *_under_centers(part, self.resolution))

        return read_mirrored(box, self.resolution.shape, read)


def load_annotation(label: Path, region: Path | None, shape: tuple[int, int]) -> Annotation:
    """Hold what a manifest names for an image of shape (height, width); maps stay on disk.

    Raises
    ------
    ImageError
        If a file of polygons cannot be read, or all that it holds lies outside the image.
    """
    areas = None if region is None else read_region(region, shape)
    if not is_polygon_file(label):
        return Annotation(label, areas, shape)
    polygons = read_nuclei(label, shape)
    if areas is not None and not contains(areas, polygons.centers()).any():
        log.warning("%s: no nucleus lies in the region %s: all of it is background", label, region)
    return Annotation(DrawnNuclei(polygons, pixel_areas(polygons, shape)), areas, shape)


def read_nuclei(path: Path, shape: tuple[int, int]) -> Polygons:
    """The nuclei of a GeoJSON or GeoParquet file that touch an image of shape (height, width).

    Raises
    ------
    ImageError
        If it cannot be read, or holds nuclei, but none on the image.
    """
    if not path.exists():
        raise ImageError(f"{path}: no such file; check the path of the label")
    if path.name.lower().endswith(PARQUET_SUFFIXES):
        outlines = [outline for outline in read_outlines(path, shape) if outline]
    else:
        roles = assign_roles(path, read_features(path))
        outlines = [feature.outline for feature in roles.nuclei]
    return on_image(path, Polygons.of_outlines(outlines), shape)


def on_image(path: Path, nuclei: Polygons, shape: tuple[int, int]) -> Polygons:
    """Those of some nuclei that touch an image of shape (height, width); others are warned of.

    Raises
    ------
    ImageError
        If none does, and there are some.
    """
    inside = nuclei.touching((0, 0, *shape))
    outside = len(nuclei) - len(inside)
    if outside and not len(inside):
        raise ImageError(
            f"{path}: all {outside} nuclei lie outside the image of {shape[0]} x {shape[1]} px;"
            " is it another image's, or in micrometres?"
        )
    if outside:
        log.warning("%s: %d nuclei outside the image are left out", path, outside)
        return nuclei.take(inside)
    return nuclei


def _under_centers(
    box: Box, resolution: Resolution
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows and columns of level 0 under the centers of working pixels."""
    height, width = resolution.source_shape
    return (
        centers(box.y0, box.y1, ratio=resolution.ratio, length=height),
        centers(box.x0, box.x1, ratio=resolution.ratio, length=width),
    )


def _in_frame(box: Box, resolution: Resolution) -> Box:
    """The working pixels whose centers lie in a box of level 0."""
    lengths = zip(resolution.source_shape * 2, resolution.shape * 2, strict=True)
    edges = (
        # the last working pixel is the image's, even where its center lies beyond the edge
        working if edge == source else math.ceil(edge / resolution.ratio - 0.5)
        for edge, (source, working) in zip((box.y0, box.x0, box.y1, box.x1), lengths, strict=True)
    )
    return Box(*edges).clip(resolution.shape)
