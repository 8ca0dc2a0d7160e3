"""Slides in DICOM, written small by pydicom: codecs, and every way to say where frames lie."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

SLIDE = UID("1.2.840.10008.5.1.4.1.1.77.1.6")
SYNTAXES: dict[str, tuple[str, Callable[[np.ndarray], bytes] | None]] = {
    "explicit": (ExplicitVRLittleEndian, None),
    "implicit": (ImplicitVRLittleEndian, None),
    "jpeg": ("1.2.840.10008.1.2.4.50", lambda p: imagecodecs.jpeg8_encode(p, level=95)),
    "jpeg2000": ("1.2.840.10008.1.2.4.90", lambda p: imagecodecs.jpeg2k_encode(
        p, codecformat="j2k", reversible=True, level=0)),
    "jpeg-ls": ("1.2.840.10008.1.2.4.80", lambda p: imagecodecs.jpegls_encode(p)),
}  # fmt: skip


def write_dicom(
    path: Path,
    pixels: np.ndarray,
    *,
    side: int = 64,
    syntax: str = "explicit",
    order: str = "TILED_FULL",
    mpp: float | None = 0.5,
    series: str = "1.2.3",
    flavor: str | None = "VOLUME",
    photometric: str | None = None,
    table: str = "basic",
    skip: Sequence[int] = (),
    only: slice | None = None,
    path_names: Sequence[str] = ("1",),
    **further: Any,
) -> Path:
    """A file of the (H, W) or (H, W, 3) pixels in frames of `side` px.

    `order` is TILED_FULL, TILED_SPARSE (each frame has its place; frames `skip` are left out, and
    they are shuffled), or rows or columns (the file says neither). `only` is the part of the
    frames that a concatenation puts into this file. Pixels (P, H, W) are those of `path_names`.
    """
    stack = pixels if len(path_names) > 1 else pixels[None]
    shape, samples = stack.shape[1:3], 3 if stack.ndim == 4 else 1
    rows, columns = (-(-length // side) for length in shape)
    places = [
        (p, y, x) for p in range(len(path_names)) for y in range(rows) for x in range(columns)
    ]
    if order == "columns":
        places = [
            (p, y, x) for p in range(len(path_names)) for x in range(columns) for y in range(rows)
        ]
    if order == "TILED_SPARSE":
        kept = [place for index, place in enumerate(places) if index not in skip]
        places = [kept[index] for index in np.random.default_rng(0).permutation(len(kept))]
    if only is not None:
        further |= {"ConcatenationUID": "1.2.9", "ConcatenationFrameOffsetNumber": only.start}
        places = places[only]
    frames = [_tile(stack[p], y, x, side) for p, y, x in places]
    dataset = _slide(shape, samples, stack.dtype, side, series=series, frames=len(frames))
    dataset.PhotometricInterpretation = photometric or ("RGB" if samples == 3 else "MONOCHROME2")
    if flavor is not None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", flavor, "NONE"]
    dataset.OpticalPathSequence = Items([_path(name) for name in path_names])
    if mpp is not None:
        dataset.SharedFunctionalGroupsSequence = Items([_measures(mpp)])
    if order.startswith("TILED"):
        dataset.DimensionOrganizationType = order
    if order == "TILED_SPARSE":
        dataset.PerFrameFunctionalGroupsSequence = Items(
            [_place(y * side, x * side, path_names[p]) for p, y, x in places]
        )
    for name, value in further.items():
        setattr(dataset, name, value)
    _put(dataset, frames, syntax, table)
    path.parent.mkdir(exist_ok=True, parents=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _tile(pixels: np.ndarray, y: int, x: int, side: int) -> np.ndarray:
    part = pixels[y * side : (y + 1) * side, x * side : (x + 1) * side]
    missing = [(0, side - length) for length in part.shape[:2]]
    return np.ascontiguousarray(np.pad(part, [*missing, *[(0, 0)] * (part.ndim - 2)]))


def _slide(
    shape: tuple[int, int],
    samples: int,
    dtype: np.dtype[Any],
    side: int,
    *,
    series: str,
    frames: int,
) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SLIDE, generate_uid()
    dataset.Modality, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "SM", series, "1.2"
    dataset.FrameOfReferenceUID = "1.2.5"
    dataset.TotalPixelMatrixRows, dataset.TotalPixelMatrixColumns = shape
    dataset.Rows = dataset.Columns = side
    dataset.NumberOfFrames = frames
    dataset.SamplesPerPixel = samples
    dataset.BitsAllocated = dataset.BitsStored = 8 * dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem = origin.YOffsetInSlideCoordinateSystem = 10
    dataset.TotalPixelMatrixOriginSequence = Items([origin])
    if samples == 3:
        dataset.PlanarConfiguration = 0
    return dataset


def _path(name: str) -> Dataset:
    item = Dataset()
    item.OpticalPathIdentifier, item.OpticalPathDescription = name, f"dye {name}"
    return item


def _measures(mpp: float) -> Dataset:
    spacing, group = Dataset(), Dataset()
    spacing.PixelSpacing, spacing.SliceThickness = [mpp / 1000, mpp / 1000], 0.001
    group.PixelMeasuresSequence = Items([spacing])
    return group


def _place(y: int, x: int, path: str) -> Dataset:
    position, optical, group = Dataset(), Dataset(), Dataset()
    position.RowPositionInTotalImagePixelMatrix = y + 1
    position.ColumnPositionInTotalImagePixelMatrix = x + 1
    position.ZOffsetInSlideCoordinateSystem = 0
    optical.OpticalPathIdentifier = path
    group.PlanePositionSlideSequence = Items([position])
    group.OpticalPathIdentificationSequence = Items([optical])
    return group


def _put(dataset: Dataset, frames: list[np.ndarray], syntax: str, table: str) -> None:
    uid, encode = SYNTAXES[syntax]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(uid)
    if encode is None:
        dataset.PixelData = b"".join(frame.tobytes() for frame in frames)
        dataset["PixelData"].VR = "OW"
        return
    packed = [encode(frame) for frame in frames]
    packed = [data + b"\0" * (len(data) % 2) for data in packed]
    if table == "extended":
        values = encapsulate_extended(packed)
        dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = values
    else:
        fragments = 2 if table == "pieces" else 1
        dataset.PixelData = encapsulate(packed, fragments, has_bot=table != "none")
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True


def read_dataset(path: Path) -> Dataset:
    """A file as pydicom has it."""
    return pydicom.dcmread(path)
