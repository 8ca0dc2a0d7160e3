"""MoNuSeg and other Aperio ImageScope annotations: one XML an image, one Region a nucleus.

Regions marked as negative are cut out of all others. By the rule of the set,
nuclei under 10 px are left out. The XML is read through defusedxml: entities
are refused, never expanded.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nucleipel.core.nucleus_rows import Ring
from nucleipel.errors import ImageError
from nucleipel.io.annotations.objects import Drawn, draw, number, rasterize
from nucleipel.io.annotations.polygons import require_coordinates
from nucleipel.io.annotations.source import (
    AnnotatedSource,
    Asked,
    files_below,
    image_for,
    images_below,
    require_folder,
    shape_of,
)

MIN_AREA_PX = 10
TCGA_PATIENT = re.compile(r"TCGA-\w{2}-\w{4}")


def read_monuseg(source: Path, asked: Asked) -> Iterator[AnnotatedSource]:
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
    images = images_below(asked.images or source)
    min_area_px = MIN_AREA_PX if asked.min_area_px is None else asked.min_area_px
    for path in annotations:
        image = image_for(path, images)
        root = _parse(path)
        patient = TCGA_PATIENT.match(path.stem)
        yield AnnotatedSource(
            path.stem,
            image,
            _draw(path, root, shape_of(image), min_area_px),
            source_id=patient[0] if patient else path.stem,
            mpp=_mpp(root),
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


def _draw(path: Path, root: Any, shape: tuple[int, int], min_area_px: int) -> Drawn:
    regions = [(_vertices(path, region), region) for region in root.iter("Region")]
    regions = [(ring, region) for ring, region in regions if len(ring) >= 3]
    nuclei = [ring for ring, region in regions if region.get("NegativeROA", "0") != "1"]
    holes = [ring for ring, region in regions if region.get("NegativeROA", "0") == "1"]
    drawn = draw((rasterize([ring], shape) for ring in nuclei), shape, min_area_px=min_area_px)
    if not holes:
        return drawn
    cut = draw((rasterize([ring], shape) for ring in holes), shape).instance_map > 0
    return Drawn(number(np.where(cut, 0, drawn.instance_map)), drawn.covered, drawn.small)


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
