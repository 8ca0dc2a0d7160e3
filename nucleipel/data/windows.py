"""Windows drawn from whole images and slides, for `train`.

What was annotated (whole images, or regions of them) is cut, in thought, into
cells of one window each. An epoch-long stream of windows runs through all cells
in a shuffled order, again and again with another order, so that every image and
every region is seen in proportion to its area; groups of images may share the
windows more evenly, by the square roots of their areas (Mahajan et al. 2018).
A cell that a region fills in part is drawn as often as its share says. Each
window is jittered around its cell, and read at a random scale, so that zooming
out shows what really lies around.

Sample number `i` depends on the seed and on `i` alone: any worker can make
it, and a continued run needs to know only where it stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from nucleipel.core.evenly_spaced import thin
from nucleipel.core.geometry import Box, overlapping_tiles
from nucleipel.core.intensity import IntensityRange
from nucleipel.core.progress import track
from nucleipel.data.augment import Augment
from nucleipel.data.sample import AnnotatedPixels, Sample, build_sample
from nucleipel.data.sampling_order import drawn_item_of, item_of
from nucleipel.errors import ImageError
from nucleipel.io.annotations.annotation import Annotation
from nucleipel.io.manifest import Manifest
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide_reader import SlideReader

TRIES = 4
"""Windows that are drawn around a cell until one shows some of the region."""


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An annotated image, its annotation, and what it is read and normalized with.

    `mpp` and `series` are what the manifest says; windows are in the frame of `resolution`.
    """

    image: Path
    annotation: Annotation
    mpp: float | None
    series: int | str | None
    reader: SlideReader
    resolution: Resolution
    intensity: IntensityRange

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in the working frame."""
        return self.resolution.shape

    def counted(self, box: Box) -> npt.NDArray[np.bool_] | None:
        """Return whether each pixel (H, W) of a box was annotated; None if all of the image was."""
        return self.annotation.counted(box, self.resolution)

    def read(self, box: Box) -> AnnotatedPixels:
        """Read the normalized pixels of a box, and what is known of them."""
        # opened anew for each window: handles shared by forked workers would share their position
        with (
            self.reader.open(self.image, mpp=self.mpp, series=self.series) as slide,
            self.annotation.open(self.resolution) as read_ids,
        ):
            pixels = self.intensity.normalize(slide.read(box))
            return AnnotatedPixels(pixels, read_ids(box), self.counted(box))


def annotated_images(manifest: Manifest, reader: SlideReader) -> list[AnnotatedImage]:
    """Open every annotated image of a manifest once: its shape and its normalization.

    Raises
    ------
    ManifestError, ImageError
        If a row has no label, or an image cannot be read as `reader` says.
    """
    images = []
    for row in track(manifest.annotated().rows, "reading intensities"):
        with row.open(reader) as slide:
            images.append(
                AnnotatedImage(
                    image=row.image,
                    annotation=row.load_annotation(slide.resolution.source_shape),
                    mpp=row.mpp,
                    series=row.series,
                    reader=reader,
                    resolution=slide.resolution,
                    intensity=slide.intensity_range(),
                )
            )
    return images


@dataclass(frozen=True, slots=True)
class Cell:
    """A square of one window's side on an image, and the annotated piece that it is cut from.

    `share` (above 0, at most 1) of its pixels were annotated; an image that was
    annotated whole has 1 also where it is smaller than a window.
    """

    image: int
    piece: Box
    box: Box
    share: float


class TrainingWindows(Dataset[Sample]):
    """An endless, numbered stream of augmented windows; `len` is where an epoch count ends it.

    `groups` are places of images that belong together, each image in one of them.
    """

    def __init__(
        self,
        images: Sequence[AnnotatedImage],
        *,
        count: int,
        window_px: int,
        scale_range: tuple[float, float],
        augment: Augment,
        channels: int,
        boundary_px: int,
        seed: int,
        groups: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.images = images
        self.cells = _cells(images, window_px)
        self.weights = _weights(self.cells, groups)
        self.count = count
        self.window_px = window_px
        self.scale_range = scale_range
        self.augment = augment
        self.channels = channels
        self.boundary_px = boundary_px
        self.seed = seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Sample:
        cell = self.cells[self._item(number)]
        image = self.images[cell.image]
        draw = np.random.default_rng([self.seed, number])
        box = self._window(image, cell, draw)
        shown = _resize(image.read(box), self.window_px)
        shown = self.augment(*shown, seed=int(draw.integers(2**31)))
        return build_sample(shown, channels=self.channels, boundary_px=self.boundary_px)

    def _window(self, image: AnnotatedImage, cell: Cell, draw: np.random.Generator) -> Box:
        for _ in range(TRIES):
            box = _jittered(cell, image.shape, draw, scale_range=self.scale_range)
            counted = image.counted(box)
            if counted is None or counted.any():
                return box
        return cell.box

    def _item(self, number: int) -> int:
        if self.weights is None:
            return item_of(number, count=len(self.cells), seed=self.seed)
        return drawn_item_of(number, weights=self.weights, seed=self.seed)


class ValidationWindows(Dataset[Sample]):
    """Windows that together show the validation images, evenly thinned to at most `limit`."""

    def __init__(
        self,
        images: Sequence[AnnotatedImage],
        *,
        limit: int,
        window_px: int,
        channels: int,
        boundary_px: int,
    ) -> None:
        self.images = images
        self.cells = thin(_cells(images, window_px), limit)
        self.channels = channels
        self.boundary_px = boundary_px

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, index: int) -> Sample:
        cell = self.cells[index]
        shown = self.images[cell.image].read(cell.box)
        return build_sample(shown, channels=self.channels, boundary_px=self.boundary_px)


def _cells(images: Sequence[AnnotatedImage], window_px: int) -> list[Cell]:
    """The cells of every annotated piece, in order; none in which nothing was annotated."""
    cells: list[Cell] = []
    for index, image in enumerate(images):
        before = len(cells)
        for piece in image.annotation.pieces(image.resolution):
            boxes = overlapping_tiles(image.shape, side_px=window_px, overlap_px=0, within=piece)
            for box in boxes:
                counted = image.counted(box)
                share = 1.0 if counted is None else float(counted.mean())
                if share > 0:
                    cells.append(Cell(index, piece, box, share))
        if len(cells) == before:
            raise ImageError(
                f"{image.image}: its region holds no pixel at the working mpp; draw it larger"
            )
    return cells


def _weights(
    cells: Sequence[Cell], groups: Sequence[Sequence[int]] | None
) -> tuple[float, ...] | None:
    """Frequency of each cell among those drawn, None if all are alike.

    By its share; those of a group have together the root of the sum of their shares.
    """
    if groups is None:
        shares = tuple(cell.share for cell in cells)
        return None if min(shares) == max(shares) else shares
    group_of = {image: group for group, images in enumerate(groups) for image in images}
    sums = np.bincount([group_of[cell.image] for cell in cells], [cell.share for cell in cells])
    return tuple(float(cell.share * sums[group_of[cell.image]] ** -0.5) for cell in cells)


def _jittered(
    cell: Cell,
    shape: tuple[int, int],
    draw: np.random.Generator,
    *,
    scale_range: tuple[float, float],
) -> Box:
    """The cell moved by up to half its side and resized by a random scale, kept on its piece.

    Where it is larger than the piece it is kept on the image, of shape (height, width).
    """
    low, high = np.log(scale_range)
    scale = float(np.exp(draw.uniform(low, high)))
    side = max(1, round(cell.box.shape[0] / scale))
    half = cell.box.shape[0] // 2
    corners = []
    for start, first, stop, length in zip(
        (cell.box.y0, cell.box.x0),
        (cell.piece.y0, cell.piece.x0),
        (cell.piece.y1, cell.piece.x1),
        shape,
        strict=True,
    ):
        center = start + half + int(draw.integers(-half, half + 1))
        corner = min(max(center - side // 2, first), stop - side)
        if stop - first < side:  # larger than the piece: centered on it
            corner = first + (stop - first - side) // 2
        if first > 0 or stop < length:
            corner = max(min(corner, length - side), 0)
        corners.append(corner)
    return Box(corners[0], corners[1], corners[0] + side, corners[1] + side)


def _resize(shown: AnnotatedPixels, side_px: int) -> AnnotatedPixels:
    pixels, instance_map, counted = shown
    if pixels.shape[:2] == (side_px, side_px):
        return shown
    method = cv2.INTER_AREA if side_px < pixels.shape[0] else cv2.INTER_LINEAR
    size = (side_px, side_px)
    resized = cv2.resize(pixels, size, interpolation=method).reshape(*size, pixels.shape[2])
    ids = cv2.resize(instance_map.astype(np.float64), size, interpolation=cv2.INTER_NEAREST_EXACT)
    if counted is not None:
        nearest = cv2.INTER_NEAREST_EXACT
        counted = cv2.resize(counted.astype(np.uint8), size, interpolation=nearest) > 0
    return AnnotatedPixels(resized, ids.astype(instance_map.dtype), counted)
