"""Areas drawn on an image, in pixels of level 0, held as compactly as can be.

An area is one nucleus, or one annotated region. It consists of polygons, each
of an outer ring and its holes. Corners are whole multiples of 1/256 px, so that
everything that is decided from them is decided by integers: the same on any
machine, and unchanged when image and corners are moved by whole pixels.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nucleipel.core.measured_nuclei import Outline, Ring
from nucleipel.errors import ImageError

UNITS = 256
"""Corners are stored in so many parts of a pixel."""
FARTHEST_PX = 2.0**21
"""No image is so large, and products of two such lengths fit in 64 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Polygons:
    """Areas as nested ranges: area i owns polygons `areas[i]:areas[i + 1]`, and so on down.

    Parameters
    ----------
    corners : (n, 2) int32
        (y, x) in 1/256 px of level 0; rings are closed from the last to the first.
    rings : (r + 1,) int64
        Where each ring begins in `corners`.
    polygons : (p + 1,) int64
        Where each polygon begins in `rings`.
    areas : (a + 1,) int64
        Where each area begins in `polygons`.
    boxes : (a, 4) int64
        y0, x0, y1, x1 of each area in whole pixels, half-open; it may overhang the image.
    """

    corners: npt.NDArray[np.int32]
    rings: npt.NDArray[np.int64]
    polygons: npt.NDArray[np.int64]
    areas: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.int64]

    @classmethod
    def of_outlines(cls, outlines: Iterable[Outline]) -> "Polygons":
        """Store one area an outline, in their order; one without corners covers nothing.

        The first corner of a ring may stand at its end again. Coordinates must be
        such that `require_coordinates` accepts them.
        """
        corners: list[npt.NDArray[np.int32]] = []
        rings, polygons, starts = [0], [0], [0]
        for outline in outlines:
            for polygon in outline:
                for ring in polygon:
                    points = np.rint(np.asarray(ring, np.float64) * UNITS).astype(np.int32)
                    if len(points) > 1 and (points[0] == points[-1]).all():
                        points = points[:-1]
                    corners.append(points)
                    rings.append(rings[-1] + len(points))
                polygons.append(len(rings) - 1)
            starts.append(len(polygons) - 1)
        return cls.of_ranges(
            np.concatenate(corners) if corners else np.empty((0, 2), np.int32),
            np.array(rings, np.int64),
            np.array(polygons, np.int64),
            np.array(starts, np.int64),
        )

    @classmethod
    def of_ranges(
        cls,
        corners: npt.NDArray[np.int32],
        rings: npt.NDArray[np.int64],
        polygons: npt.NDArray[np.int64],
        areas: npt.NDArray[np.int64],
    ) -> "Polygons":
        """Take arrays as the class holds them, and find the boxes."""
        ends = rings[polygons[areas]]
        boxes = np.zeros((len(areas) - 1, 4), np.int64)
        full = np.flatnonzero(np.diff(ends))
        if len(full):
            starts = ends[full]
            low = np.minimum.reduceat(corners, starts, axis=0).astype(np.int64)
            high = np.maximum.reduceat(corners, starts, axis=0).astype(np.int64)
            boxes[full, :2] = low // UNITS
            boxes[full, 2:] = -(-high // UNITS)
        return cls(corners, rings, polygons, areas, boxes)

    def __len__(self) -> int:
        return len(self.areas) - 1

    def take(self, chosen: npt.NDArray[np.integer]) -> "Polygons":
        """Some of the areas, in the order of the indices `chosen`."""
        polygons = _spread(self.areas, chosen)
        rings = _spread(self.polygons, polygons)
        return Polygons(
            self.corners[_spread(self.rings, rings)],
            _starts(self.rings, rings),
            _starts(self.polygons, polygons),
            _starts(self.areas, chosen),
            self.boxes[chosen],
        )

    def centers(self) -> npt.NDArray[np.float64]:
        """Mean (n, 2) of the corners of each area, (y, x) in pixels."""
        ends = self.rings[self.polygons[self.areas]]
        sums = np.zeros((len(self), 2))
        full = np.flatnonzero(np.diff(ends))
        if len(full):
            sums[full] = np.add.reduceat(self.corners, ends[full], axis=0, dtype=np.int64)
        return sums / (np.maximum(np.diff(ends), 1)[:, None] * UNITS)

    def sizes(self) -> npt.NDArray[np.float64]:
        """Pixels (n,) that the rings of each area enclose, less its holes; overlaps count twice."""
        starts, lengths = self.rings[:-1], np.diff(self.rings)
        following = np.arange(1, len(self.corners) + 1)
        following[(starts + lengths - 1)[lengths > 0]] = starts[lengths > 0]
        y, x = (self.corners[:, axis].astype(np.float64) / UNITS for axis in (0, 1))
        crossed = np.concatenate([[0.0], np.cumsum(x * y[following] - x[following] * y)])
        enclosed = np.abs(crossed[self.rings[1:]] - crossed[starts]) / 2
        outer = np.zeros(len(enclosed), bool)
        outer[self.polygons[:-1][np.diff(self.polygons) > 0]] = True
        summed = np.concatenate([[0.0], np.cumsum(np.where(outer, enclosed, -enclosed))])
        ends = self.polygons[self.areas]
        return summed[ends[1:]] - summed[ends[:-1]]

    def touching(self, box: tuple[int, int, int, int]) -> npt.NDArray[np.int64]:
        """Indices of the areas whose boxes share a pixel with `box` (y0, x0, y1, x1)."""
        y0, x0, y1, x1 = box
        boxes = self.boxes
        return np.flatnonzero(
            (boxes[:, 0] < y1) & (boxes[:, 2] > y0) & (boxes[:, 1] < x1) & (boxes[:, 3] > x0)
        )

    def outline(self, index: int) -> Outline:
        """The rings of one area, in pixels."""
        return [
            [
                self.corners[self.rings[ring] : self.rings[ring + 1]] / UNITS
                for ring in range(self.polygons[polygon], self.polygons[polygon + 1])
            ]
            for polygon in range(self.areas[index], self.areas[index + 1])
        ]


def require_coordinates(where: str, ring: Ring) -> None:
    """Check that the corners of a ring can be pixels of an image; `where` names it.

    Raises
    ------
    ImageError
        If one is not finite, or so far out that no image reaches there.
    """
    if not np.isfinite(ring).all():
        raise ImageError(f"{where}: a coordinate is not finite; draw it again, or leave it out")
    if np.abs(ring).max(initial=0) > FARTHEST_PX:
        raise ImageError(
            f"{where}: a coordinate of {np.abs(ring).max():.3g}; expected pixels of the image"
        )


def _spread(
    starts: npt.NDArray[np.int64], chosen: npt.NDArray[np.integer]
) -> npt.NDArray[np.int64]:
    """All members of the chosen ranges, one range after the other."""
    counts = starts[chosen + 1] - starts[chosen]
    begins = np.repeat(starts[chosen] - np.cumsum(counts) + counts, counts)
    return begins + np.arange(int(counts.sum()))


def _starts(
    starts: npt.NDArray[np.int64], chosen: npt.NDArray[np.integer]
) -> npt.NDArray[np.int64]:
    """Starts of the chosen ranges once they follow one another."""
    return np.concatenate([[0], np.cumsum(starts[chosen + 1] - starts[chosen])]).astype(np.int64)
