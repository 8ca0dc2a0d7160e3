"""The annotation of an image: its nuclei, and the region in which all of them were marked.

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
from nucleipel.io.annotations.geoparquet import read_rows
from nucleipel.io.annotations.left_out import question_sizes, report_left_out
from nucleipel.io.annotations.polygons import Polygons
from nucleipel.io.annotations.rasterize import contains, covered, draw_ids, pixel_areas
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

ReadIds = Callable[[Box], npt.NDArray[np.integer]]


@dataclass(frozen=True, slots=True, eq=False)
class DrawnNuclei:
    """Polygons of nuclei, and the pixels (n,) that each covers on its image."""

    polygons: Polygons
    sizes: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """The annotation of one image; small enough to be held for an image of any size.

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
    def open(self, resolution: Resolution) -> Iterator[ReadIds]:
        """Give a function that reads ids (H, W), 0 for background, in the frame of `resolution`.

        Nuclei outside of the region are among them. Where a box overhangs the
        image, both are mirrored.

        Raises
        ------
        ImageError
            If an instance map cannot be opened.
        """
        if isinstance(self.label, Path):
            with open_annotation(self.label, resolution=resolution) as instance_map:
                yield instance_map.read
            return
        nuclei = self.label

        def draw(box: Box) -> npt.NDArray[np.integer]:
            return draw_ids(nuclei.polygons, nuclei.sizes, *_under_centers(box, resolution))

        yield lambda box: read_mirrored(box, resolution.shape, draw)

    def counted(self, box: Box, resolution: Resolution) -> npt.NDArray[np.bool_] | None:
        """Return whether each pixel (H, W) of a box was annotated; None if all of the image was.

        Where the box overhangs the image, the region is mirrored as pixels are.
        """
        if self.region is None:
            return None
        region = self.region

        def cover(part: Box) -> npt.NDArray[np.bool_]:
            return covered(region, *_under_centers(part, resolution))

        return read_mirrored(box, resolution.shape, cover)

    def pieces(self, resolution: Resolution) -> list[Box]:
        """Disjoint boxes of the working frame that together hold all that was annotated."""
        if self.region is None:
            return [Box.of_shape(resolution.shape)]
        boxes = [_in_frame(box, resolution) for box in piece_boxes(self.region, self.shape)]
        return [box for box in boxes if min(box.shape) > 0]


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
    polygons = read_nuclei(label, shape, needed=region is None)
    if areas is not None and not contains(areas, polygons.centers()).any():
        log.warning("%s: no nucleus lies in the region %s: all of it is background", label, region)
    return Annotation(DrawnNuclei(polygons, pixel_areas(polygons, shape)), areas, shape)


def read_nuclei(path: Path, shape: tuple[int, int], *, needed: bool = True) -> Polygons:
    """The nuclei of a GeoJSON or GeoParquet file that touch an image of shape (height, width).

    What is left out, or odd, is warned of.

    Raises
    ------
    ImageError
        If it cannot be read, holds nuclei, but none on the image, or holds none,
        though some are `needed`, or other objects only.
    """
    if not path.exists():
        raise ImageError(f"{path}: no such file; check the path of the label")
    in_rows = path.name.lower().endswith(PARQUET_SUFFIXES)
    roles = assign_roles(path, list(read_rows(path, shape)) if in_rows else read_features(path))
    report_left_out(path, roles.left_out, kept=len(roles.nuclei), needed=needed)
    if roles.regions and needed:
        log.warning(
            "%s: holds %d regions, which the manifest does not name: all of the image counts as"
            " annotated; name the file in the column 'region', too", path, len(roles.regions),
        )  # fmt: skip
    nuclei = Polygons.of_outlines(feature.outline for feature in roles.nuclei)
    question_sizes(path, nuclei, list(map(str, roles.nuclei)), shape)
    return on_image(path, nuclei, shape)


def on_image(path: Path, nuclei: Polygons, shape: tuple[int, int]) -> Polygons:
    """Choose the nuclei that touch an image of shape (height, width); others are warned of.

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
            " is it another image's, or in micrometers?"
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
