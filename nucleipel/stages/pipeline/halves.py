"""Two halves of some annotated images: each is scored by what was trained on the other."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nucleipel.core.geometry import Box
from nucleipel.errors import ManifestError
from nucleipel.io.annotations.annotation import Annotation
from nucleipel.io.annotations.cut_region import cut_region
from nucleipel.io.annotations.polygons import Polygons
from nucleipel.io.annotations.region import write_region
from nucleipel.io.manifest import Manifest, Row
from nucleipel.io.slides.slide_reader import SlideReader

SOURCES = "sources"
WINDOW_PX = 4096
"""Labels are read in windows of this side, to count nuclei."""
OPPOSITE = (0, 1, 1, 0)
"""Halves of the quarters: opposite ones, so that both halves reach across the image."""
LEAST_NUCLEI = 4
"""So many in one image, a nucleus for each quarter; in several images, two that hold some."""


@dataclass(frozen=True)
class Halves:
    """Rows of a manifest, the half (0 or 1) of each, and the source that it comes from.

    `cut` says in words what was kept apart; `nuclei` are those of both halves. Of an image that
    was cut, each row has a region file; `regions` says what `write_regions` writes into it.
    """

    rows: Manifest
    half_of: tuple[int, ...]
    sources: tuple[str, ...]
    cut: str
    nuclei: int
    regions: Mapping[Path, Polygons] = field(default_factory=dict)

    @property
    def are_of_one_source(self) -> bool:
        """Return whether one source had to be split."""
        return self.cut != SOURCES

    def write_regions(self) -> None:
        """Write the region files of the rows."""
        for path, region in self.regions.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_region(path, region)

    def places(self, half: int) -> list[int]:
        """Places of the rows of a half."""
        return [place for place, own in enumerate(self.half_of) if own == half]

    def of(self, half: int) -> Manifest:
        """The rows of a half."""
        return Manifest(self.rows.path, tuple(self.rows.rows[at] for at in self.places(half)))

    def to_train(self, half: int) -> Manifest:
        """The rows of a half as `train` takes them; its `val` is the same half, and is not used."""
        rows = [
            dataclasses.replace(row, split=split)
            for split in ("train", "val")
            for row in self.of(half)
        ]
        return Manifest(self.rows.path, tuple(rows))


def split_in_halves(rows: Manifest, reader: SlideReader, folder: Path) -> Halves:
    """Split images into two halves of about as many nuclei each, by source.

    A source (patient, slide, field of view) is an image where none is named. All
    images of one source are split image by image. One image alone is cut into
    quarters with as many nuclei each, and two of them make up a half; their region
    files belong into `folder`. Nothing is written yet.

    Raises
    ------
    ManifestError
        If there are too few nuclei to have some in each half.
    """
    centers = [annotated_centers(row, reader) for row in rows]
    if len(rows) == 1:
        return _quartered(rows, centers[0], reader, folder)
    sources = [row.source_id or row.id for row in rows]
    cut = SOURCES
    if len(set(sources)) == 1:
        sources, cut = [row.id for row in rows], "images of one source"
    counts: dict[str, int] = {}
    for source, of_image in zip(sources, centers, strict=True):
        counts[source] = counts.get(source, 0) + len(of_image)
    if sum(count > 0 for count in counts.values()) < 2:
        raise ManifestError(
            f"{rows.path}: {sum(counts.values())} annotated nuclei, all of one image;"
            " annotate some in two images, or list that image alone"
        )
    held, half_of_source = [0, 0], {}
    for source in sorted(counts, key=lambda name: (-counts[name], name)):
        half = int(held[1] < held[0])
        half_of_source[source] = half
        held[half] += counts[source]
    halves = tuple(half_of_source[source] for source in sources)
    return Halves(rows, halves, tuple(sources), cut, sum(held))


def _quartered(
    rows: Manifest, centers: npt.NDArray[np.float64], reader: SlideReader, folder: Path
) -> Halves:
    row = rows.rows[0]
    if len(centers) < LEAST_NUCLEI:
        raise ManifestError(
            f"{row.image}: {len(centers)} annotated nuclei; annotate at least {LEAST_NUCLEI},"
            " better 20, to train on some and to score on others"
        )
    annotation, shape = _annotation(row, reader)
    regions = [cut_region(annotation.region, box) for box in quarters(centers, shape)]
    parts, half_of, region_files = [], [], {}
    for place, region in enumerate(regions, 1):
        if not len(region):  # nuclei in one line, at the edge of a region
            continue
        name = f"{row.id}-part-{place}"
        half_of.append(OPPOSITE[place - 1])
        path = folder / f"{name}.geojson"
        region_files[path] = region
        parts.append(dataclasses.replace(row, id=name, source_id=name, region=path))
    names = tuple(part.id for part in parts)
    cut = "quarters of one image"
    return Halves(
        Manifest(rows.path, tuple(parts)), tuple(half_of), names, cut, len(centers), region_files
    )


def quarters(centers: npt.NDArray[np.float64], shape: tuple[int, int]) -> list[Box]:
    """Cut an image of shape (height, width) into four boxes with as many centers (n, 2) each.

    First across the axis along which the centers reach farther, then each half
    across the other one. Boxes share no pixel and together are the image.
    """
    whole = Box.of_shape(shape)
    axis = int(np.argmax(np.ptp(centers, axis=0)))
    boxes = []
    for part in _cut(whole, centers, axis):
        boxes += _cut(part, centers, 1 - axis)
    return boxes


def _cut(box: Box, centers: npt.NDArray[np.float64], axis: int) -> list[Box]:
    low, high = np.array([box.y0, box.x0]), np.array([box.y1, box.x1])
    inside = centers[((centers >= low) & (centers < high)).all(axis=1)]
    middle = (low[axis] + high[axis]) / 2 if not len(inside) else np.median(inside[:, axis])
    at = int(np.clip(round(float(middle)), low[axis] + 1, high[axis] - 1))
    if axis == 0:
        return [dataclasses.replace(box, y1=at), dataclasses.replace(box, y0=at)]
    return [dataclasses.replace(box, x1=at), dataclasses.replace(box, x0=at)]


def _annotation(row: Row, reader: SlideReader) -> tuple[Annotation, tuple[int, int]]:
    with row.open(reader) as slide:
        shape = slide.resolution.source_shape
    return row.load_annotation(shape), shape


def annotated_centers(row: Row, reader: SlideReader) -> npt.NDArray[np.float64]:
    """Find the (n, 2) centers (y, x) of the annotated nuclei of an image, in pixels of level 0."""
    with row.open(reader) as slide:
        frame = slide.resolution.at_level_0()
    annotation = row.load_annotation(frame.shape)
    sums = [np.empty((4, 0))]
    with annotation.open(frame) as read_ids:
        for box in _windows(annotation.pieces(frame)):
            ids, counted = read_ids(box), annotation.counted(box, frame)
            if counted is not None:
                ids = np.where(counted, ids, 0)
            y, x = np.nonzero(ids)
            known, place, count = np.unique(ids[y, x], return_inverse=True, return_counts=True)
            of_axes = [np.bincount(place, values, len(count)) for values in (y, x)]
            origin = count * np.array([[box.y0], [box.x0]])
            sums.append(np.concatenate([[known, count], of_axes + origin]))
    ids, count, *of_axes = np.concatenate(sums, axis=1)
    known, place = np.unique(ids, return_inverse=True)
    total = [np.bincount(place, values, len(known)) for values in (*of_axes, count)]
    return np.stack(total[:2], axis=1) / total[2][:, None]


def _windows(pieces: Sequence[Box]) -> Iterator[Box]:
    for piece in pieces:
        for y in range(piece.y0, piece.y1, WINDOW_PX):
            for x in range(piece.x0, piece.x1, WINDOW_PX):
                end = min(y + WINDOW_PX, piece.y1), min(x + WINDOW_PX, piece.x1)
                yield Box(y, x, *end)
