"""MoNuSeg and other Aperio ImageScope annotations: one XML an image, one Region a nucleus.

Regions marked as negative are cut out of all others. Those of a layer, or with a
text, that `ImportOptions.region_classes` names are not nuclei: all nuclei in them were
annotated. Ellipses are drawn; arrows, rulers and layers that are no nuclei are left out. By
the rule of the set, so are nuclei under 10 px. The XML is read through defusedxml: entities
are refused, never expanded.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.measured_nuclei import Outline, Ring
from nucleipel.errors import ImageError
from nucleipel.io.annotations.left_out import (
    cells_beside_nuclei,
    is_no_nucleus,
    question_sizes,
    report_left_out,
)
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
RECTANGLE, ELLIPSE = "1", "2"
DRAWN = ("", "0", RECTANGLE, ELLIPSE)
"""Values of Type that enclose an area; the first two are drawn by hand."""
SHAPES = {"3": "arrows", "4": "rulers"}
ELLIPSE_CORNERS = 64
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
    nuclei: list[tuple[str, Outline]] = []
    negative: list[Outline] = []
    regions: list[Outline] = []
    left_out: Counter[str] = Counter()
    items = [(_names(layer, item), item) for layer in root.iter("Annotation")
             for item in layer.iter("Region")]  # fmt: skip
    cells = cells_beside_nuclei([names for names, _ in items])
    for (names, item), is_cell in zip(items, cells, strict=True):
        ring = _ring(path, item)
        wrong = is_no_nucleus(names) or (names[0] if is_cell else "")
        if len(ring) < 3:
            left_out[_kind(item)] += 1
        elif options.is_region(names):
            regions.append([[ring]])
        elif item.get("NegativeROA", "0") == "1":
            negative.append([[ring]])
        elif wrong:
            left_out[f"of the layer or text {wrong}"] += 1
        else:
            nuclei.append((f"Region {item.get('Id')}", [[ring]]))
    if options.region_classes and not regions:
        raise ImageError(
            f"{path}: no layer or region is named {' or '.join(options.region_classes)};"
            " name one, or leave --region-class out"
        )
    report_left_out(path, left_out, kept=len(nuclei), needed=not regions)
    region = region_of(Polygons.of_outlines(regions), shape)
    outlines = Polygons.of_outlines(outline for _, outline in nuclei)
    question_sizes(path, outlines, [name for name, _ in nuclei], shape)
    cut = _without(outlines, Polygons.of_outlines(negative), shape)
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


def _kind(item: Any) -> str:
    """What a region without an area is called."""
    kind = item.get("Type", "0").strip()
    return SHAPES.get(kind, f"of Type {kind}" if kind not in DRAWN else "points or lines")


def _ring(path: Path, item: Any) -> Ring:
    """The corners of a region; none of one that encloses nothing, or whose Type is unknown."""
    kind, corners = item.get("Type", "0").strip(), _vertices(path, item)
    if kind not in DRAWN or not len(corners):
        return corners[:0]
    (top, left), (bottom, right) = corners.min(axis=0), corners.max(axis=0)
    if kind == ELLIPSE and len(corners) <= 4:  # the corners of its box
        turn = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)
        y = (top + bottom) / 2 + (bottom - top) / 2 * np.sin(turn)
        x = (left + right) / 2 + (right - left) / 2 * np.cos(turn)
        return np.stack([y, x], axis=1)
    if kind == RECTANGLE and len(corners) == 2:
        return np.array([(top, left), (top, right), (bottom, right), (bottom, left)])
    return corners


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
