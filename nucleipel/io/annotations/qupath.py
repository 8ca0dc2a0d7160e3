"""QuPath's GeoJSON: one file an image, one feature a nucleus, in pixels of level 0.

A cell counts by its `nucleusGeometry`, and is left out without one. Which objects are
nuclei and which are regions that were annotated completely, `nucleipel.io.annotations.roles`
decides.
Points and lines have no area and are left out. A MultiPolygon is one nucleus of
several parts.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nucleipel.core.measured_nuclei import Ring
from nucleipel.errors import ImageError
from nucleipel.io.annotations.annotation import on_image
from nucleipel.io.annotations.geojson import read_features
from nucleipel.io.annotations.left_out import question_sizes, report_left_out
from nucleipel.io.annotations.pairing import files_below, images_below, pair_files
from nucleipel.io.annotations.polygons import Polygons
from nucleipel.io.annotations.region import require_on_image
from nucleipel.io.annotations.roles import Roles, assign_roles
from nucleipel.io.annotations.source import (
    AnnotatedSource,
    ImportOptions,
    annotate,
    region_of,
    shape_of,
)
from nucleipel.io.slides.slide import image_stem

log = logging.getLogger(__name__)

SUFFIXES = (".geojson", ".geojson.gz", ".json")


def read_qupath(source: Path, options: ImportOptions) -> Iterator[AnnotatedSource]:
    """A GeoJSON file, or every one below a folder, with the image of its name.

    Raises
    ------
    ImageError
        If there is none, one is no GeoJSON (with the number of the feature at
        fault), or an image is missing.
    """
    files = [source] if source.is_file() else files_below(source, *SUFFIXES)
    if not files:
        raise ImageError(f"{source}: no GeoJSON there; expected a file or a folder of them")
    images = images_below(options.images or (source.parent if source.is_file() else source))
    for path, image in pair_files(files, images, source):
        shape = shape_of(image, options.series)
        roles = assign_roles(path, read_features(path), region_classes=options.region_classes)
        report_left_out(path, roles.left_out, kept=len(roles.nuclei), needed=not roles.regions)
        region = _region(path, roles, shape)
        outlines = Polygons.of_outlines(nucleus.outline for nucleus in roles.nuclei)
        question_sizes(path, outlines, list(map(str, roles.nuclei)), shape)
        nuclei = annotate(
            path, on_image(path, outlines, shape), region, shape,
            min_area_px=options.min_area_px or 0,
        )  # fmt: skip
        name = image_stem(image)
        yield AnnotatedSource(name, image, nuclei, source_id=name, region=region)


def _region(path: Path, roles: Roles, shape: tuple[int, int]) -> Polygons | None:
    areas = Polygons.of_outlines(feature.outline for feature in roles.regions)
    require_on_image(path, areas, [feature.number for feature in roles.regions], shape)
    return region_of(areas, shape)


def read_outlines(path: Path, shape: tuple[int, int]) -> list[list[Ring]]:
    """The rings (n, 2) of (y, x) of every feature that has an area, of any kind.

    `shape` is (height, width) of level 0 of the image.

    Raises
    ------
    ImageError
        If it is no GeoJSON, holds no area, or all of them lie outside the image.
    """
    features = [feature.outline for feature in read_features(path) if feature.outline]
    outlines = [[ring for polygon in outline for ring in polygon] for outline in features]
    if not any(_touches(rings, shape) for rings in outlines):
        what = f"all {len(outlines)} areas lie outside" if outlines else "holds no area on"
        raise ImageError(
            f"{path}: {what} the image of {shape[0]} x {shape[1]} px; is it another image's, or in"
            " micrometers?"
        )
    return outlines


def _touches(rings: list[Ring], shape: tuple[int, int]) -> bool:
    points = np.concatenate(rings)
    return bool((points.max(axis=0) > 0).all() and (points.min(axis=0) < shape).all())
