"""MoNuSeg and other Aperio ImageScope annotations: one XML an image, one Region a nucleus.

Regions marked as negative are cut out of all others. Those of a layer, or with a
text, that `ImportOptions.region_classes` names are not nuclei: all nuclei in them were
annotated. By the rule of the set, nuclei under 10 px are left out. The XML is read
through defusedxml: entities are refused, never expanded.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.measured_nuclei import Outline, Ring
from nucleipel.errors import ImageError
from nucleipel.io.annotations.objects import Drawn, Mask, Outlined, outline_of_mask
from nucleipel.io.annotations.pairing import files_below, images_below, pair_files
from nucleipel.io.annotations.polygons import Polygons, require_coordinates
from nucleipel.io.annotations.rasterize import covered
from nucleipel.io.annotations.source import (
    AnnotatedSource,
    ImportOptions,
    annotate,
    region_of,
    require_folder,
    shape_of,
)

MIN_AREA_PX = 10
TCGA_PATIENT = re.compile(r"TCGA-\w{2}-\w{4}")


def read_monuseg(source: Path, options: ImportOptions) -> Iterator[AnnotatedSource]:
    """Every XML below `source`, with the image of its name.

    Raises
    ------
    ImageError
        If there is none, an XML is no Aperio annotation or unsafe, or an image
        is missing.
    """
    require_folder(source)
    annotations = files_below(source, ".xml")
    if not annotations:
        raise ImageError(f"{source}: holds no XML; expected one an image")
    images = images_below(options.images or source)
    min_area_px = MIN_AREA_PX if options.min_area_px is None else options.min_area_px
    for path, image in pair_files(annotations, images, source):
        root = _parse(path)
        patient = TCGA_PATIENT.match(path.stem)
        nuclei, region = _annotated(
            path, root, shape_of(image, options.series), options, min_area_px
        )
        yield AnnotatedSource(
            path.stem,
            image,
            nuclei,
            source_id=patient[0] if patient else path.stem,
            mpp=_mpp(root),
            region=region,
        )


def _parse(path: Path) -> Any:
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError, parse

    try:
        root = parse(path).getroot()
    except DefusedXmlException as error:
        raise ImageError(f"{path}: defines entities or a DTD, which are refused") from error
    except (ParseError, OSError, ValueError) as error:
        raise ImageError(f"{path}: no valid XML: {error}; copy it again") from error
    if root.tag != "Annotations":
        raise ImageError(f"{path}: root is <{root.tag}>; expected Aperio's <Annotations>")
    return root


def _mpp(root: Any) -> float | None:
    try:
        mpp = float(root.get("MicronsPerPixel", ""))
    except ValueError:
        return None
    return mpp if 0 < mpp < float("inf") else None


def _annotated(
    path: Path, root: Any, shape: tuple[int, int], options: ImportOptions, min_area_px: int
) -> tuple[Drawn | Outlined, Polygons | None]:
    """The nuclei of an image, and the regions that were annotated completely, if some are named."""
    nuclei: list[Outline] = []
    negative: list[Outline] = []
    regions: list[Outline] = []
    for layer in root.iter("Annotation"):
        for item in layer.iter("Region"):
            ring = _vertices(path, item)
            if len(ring) < 3:
                continue
            is_region = options.is_region(_names(layer, item))
            is_negative = item.get("NegativeROA", "0") == "1"
            kind = regions if is_region else negative if is_negative else nuclei
            kind.append([[ring]])
    if options.region_classes and not regions:
        raise ImageError(
            f"{path}: no layer or region is named {' or '.join(options.region_classes)};"
            " name one, or leave --region-class out"
        )
    region = region_of(Polygons.of_outlines(regions), shape)
    cut = _without(Polygons.of_outlines(nuclei), Polygons.of_outlines(negative), shape)
    return annotate(path, cut, region, shape, min_area_px=min_area_px), region


def _names(layer: Any, item: Any) -> list[str]:
    """Return the names of a region: its text, and its layer's, which may be an attribute's."""
    attributes = (each.get("Name") for each in layer.iter("Attribute"))
    names = (layer.get("Name"), item.get("Text"), *attributes)
    return [name for name in names if name]


def _without(nuclei: Polygons, negative: Polygons, shape: tuple[int, int]) -> Polygons:
    """The nuclei less the pixels of all negative areas; those that have none as they are."""
    outlines = []
    for place in range(len(nuclei)):
        y0, x0, y1, x1 = np.clip(nuclei.boxes[place], 0, [*shape, *shape]).tolist()
        if y0 < y1 and x0 < x1 and len(negative.touching((y0, x0, y1, x1))):
            rows, columns = np.arange(y0, y1), np.arange(x0, x1)
            pixels = covered(nuclei.take(np.array([place])), rows, columns)
            pixels &= ~covered(negative, rows, columns)
            outlines.append(outline_of_mask(Mask(y0, x0, pixels)))
        else:
            outlines.append(nuclei.outline(place))
    return Polygons.of_outlines(outlines)


def _vertices(path: Path, region: Any) -> Ring:
    try:
        points = [(float(v.get("Y")), float(v.get("X"))) for v in region.iter("Vertex")]
    except (TypeError, ValueError) as error:
        raise ImageError(
            f"{path}: Region {region.get('Id')}: a Vertex has no number for X or Y"
        ) from error
    ring = np.array(points, np.float64).reshape(-1, 2)
    require_coordinates(f"{path}: Region {region.get('Id')}", ring)
    return ring
