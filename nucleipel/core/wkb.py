"""Well-known binary: how GeoParquet stores the outline of a nucleus.

Points are (x, y) there and (y, x) here. Read are polygons of two or more axes,
of which the first two count, and collections of them; points and lines have no area.
"""

import struct

import numpy as np

from nucleipel.core.measured_nuclei import Outline, Ring, closed_xy

POINT, LINE, POLYGON, MULTIPOLYGON = 1, 2, 3, 6
COLLECTIONS = (4, 5, MULTIPOLYGON, 7)
HAS_Z, HAS_M, HAS_SRID = 0x80000000, 0x40000000, 0x20000000


def to_wkb(outline: Outline) -> bytes:
    """Pack an outline: a polygon, or a multipolygon where it has several."""
    polygons = [
        struct.pack("<BII", 1, POLYGON, len(rings)) + b"".join(map(_ring_bytes, rings))
        for rings in outline
    ]
    if len(polygons) == 1:
        return polygons[0]
    return struct.pack("<BII", 1, MULTIPOLYGON, len(polygons)) + b"".join(polygons)


def outline_of_wkb(content: bytes) -> Outline:
    """Unpack the polygons of a geometry, their rings closed; none of a point or a line.

    Raises
    ------
    ValueError
        If the bytes are no geometry.
    """
    try:
        outline, end = _read(content, 0)
    except (struct.error, KeyError, IndexError, ValueError) as error:
        raise ValueError(f"no well-known binary: {error}") from error
    if end != len(content):
        raise ValueError("no well-known binary: it goes on after its end")
    return outline


def kind_of_wkb(content: bytes) -> str:
    """The name that GeoParquet has for what `to_wkb` packed."""
    (kind,) = struct.unpack_from("<I", content, 1)
    return {POLYGON: "Polygon", MULTIPOLYGON: "MultiPolygon"}[kind]


def _ring_bytes(ring: Ring) -> bytes:
    return struct.pack("<I", len(ring) + 1) + closed_xy(ring).astype("<f8").tobytes()


def _read(content: bytes, at: int) -> tuple[Outline, int]:
    """The polygons of the geometry that begins at a byte, and where it ends."""
    order = {0: ">", 1: "<"}[content[at]]
    (code,) = struct.unpack_from(f"{order}I", content, at + 1)
    # ISO adds 1000 for a third axis, 2000 for a measure, 3000 for both; PostGIS sets bits
    thousands, kind = divmod(code & 0x0FFFFFFF, 1000)
    axes = 2 + (0, 1, 1, 2)[thousands] + bool(code & HAS_Z) + bool(code & HAS_M)
    at += 9 if code & HAS_SRID else 5
    if kind == POINT:
        return [], at + 8 * axes
    (count,) = struct.unpack_from(f"{order}I", content, at)
    at += 4
    if kind == LINE:
        return [], at + 8 * axes * count
    if kind == POLYGON:
        rings = []
        for _ in range(count):
            ring, at = _read_ring(content, at, order, axes)
            rings.append(ring)
        return [rings] if rings else [], at
    if kind not in COLLECTIONS:
        raise ValueError(f"geometry of kind {kind}")
    outline: Outline = []
    for _ in range(count):
        polygons, at = _read(content, at)
        outline += polygons
    return outline, at


def _read_ring(content: bytes, at: int, order: str, axes: int) -> tuple[Ring, int]:
    (points,) = struct.unpack_from(f"{order}I", content, at)
    values = np.frombuffer(content, f"{order}f8", points * axes, at + 4)
    ring = values.reshape(points, axes)[:, 1::-1].astype(np.float64)
    return ring, at + 4 + 8 * points * axes
