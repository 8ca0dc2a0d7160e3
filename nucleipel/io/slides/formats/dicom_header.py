"""The header of one DICOM file: the size of the slide, of a frame, and where frames lie.

Read with pydicom (MIT), which OpenSlide's rivals wsidicom and highdicom stand on,
too; it comes with the extra `nucleipel[dicom]`. Everything is read at once into plain
values: files in the field break the rules for values, of which pydicom warns when they are read.
"""

import logging
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from nucleipel.errors import ImageError
from nucleipel.io.slides.formats.pixel_size import PixelSizes, stated_size

NOT_SQUARE = 0.02
HEADERS_KEPT = 64
VISIBLE_LIGHT = "1.2.840.10008.5.1.4.1.1.77.1"
"""Start of the UIDs of all images of microscopes."""
FLAVORS = {"THUMBNAIL": "a thumbnail", "LABEL": "a label", "OVERVIEW": "an overview"}

logging.getLogger("pydicom").addHandler(logging.NullHandler())  # its faults are reported by ours


@dataclass(frozen=True)
class FramePlace:
    """A frame's place in the slide: its upper left pixel (y, x), its optical path, its depth."""

    y: int
    x: int
    path: str
    depth: float


@dataclass(frozen=True)
class Header:
    """One DICOM instance of a slide.

    Parameters
    ----------
    file : Path
    series, description : str
        UID and name of the series that it belongs to.
    concatenation : str
        UID of the instance that was cut into several files, of which this is one; or its own.
    first_frame : int
        Index of its first frame in that instance.
    shape : (height, width)
        Of all pixels of the slide on this level.
    frame : (height, width)
    frames : int
    syntax, photometric : str
        How frames are packed, and what their samples mean.
    samples, bits, stored_bits : int
    planar : bool
    paths : tuple of (identifier, description)
        Optical paths, each a channel of a slide in gray.
    places : tuple of FramePlace, optional
        Of every frame, where the file says it.
    in_rows : bool
        Whether the file says that frames fill the slide row by row.
    depths : int
        Focal planes.
    flavor : str
        Why it is no level of the slide ("a label"), "" for a level.
    sizes : PixelSizes
    offsets, lengths : tuple of int
        The extended table of where frames start after the first one, and their lengths.
    data_at : int
        Where the element of the pixels starts in the file.
    explicit : bool
        Whether elements name their kind of value.
    """

    file: Path
    series: str
    description: str
    concatenation: str
    first_frame: int
    shape: tuple[int, int]
    frame: tuple[int, int]
    frames: int
    syntax: str
    photometric: str
    samples: int
    bits: int
    stored_bits: int
    planar: bool
    paths: tuple[tuple[str, str], ...]
    places: tuple[FramePlace, ...] | None
    in_rows: bool
    depths: int
    flavor: str
    sizes: PixelSizes
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]
    data_at: int
    explicit: bool


def read_header(file: Path) -> Header:
    """Read the header of a DICOM file; once in a process, as long as the file stays as it is.

    That takes a second for each thousand frames whose places stand in the file.

    Raises
    ------
    ImageError
        If pydicom is not installed, or the file is no slide or part of one.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise ImageError(
            f"{file}: DICOM is read by pydicom, which is not installed; pip install"
            " 'nucleipel[dicom]'"
        ) from error
    stat = file.stat()
    return _read_header(file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=HEADERS_KEPT)
def _read_header(file: Path, size: int, changed: int) -> Header:
    import pydicom

    with warnings.catch_warnings(), file.open("rb") as stream:
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(stream, stop_before_pixels=True)
        data_at = stream.tell()
        return _header(file, dataset, data_at)


def _header(file: Path, dataset: Any, data_at: int) -> Header:
    kind = str(dataset.get("Modality") or "of no stated modality")
    seen = str(dataset.get("SOPClassUID") or "").startswith(VISIBLE_LIGHT) or kind == "SM"
    if not seen or "Rows" not in dataset or "Columns" not in dataset:
        raise ImageError(f"{file}: DICOM {kind}; expected the image of a slide (SM)")
    if dataset.get("PixelRepresentation"):
        raise ImageError(f"{file}: signed pixels; expected unsigned ones; convert it")
    frame = (int(dataset.Rows), int(dataset.Columns))
    shape = (
        int(dataset.get("TotalPixelMatrixRows") or frame[0]),
        int(dataset.get("TotalPixelMatrixColumns") or frame[1]),
    )
    types = [str(value) for value in dataset.get("ImageType") or ()]
    frames = int(dataset.get("NumberOfFrames") or 1)
    organization = str(dataset.get("DimensionOrganizationType") or "")
    per_frame = list(dataset.get("PerFrameFunctionalGroupsSequence") or ())
    paths = _paths(dataset)
    places = _places(per_frame, paths) if organization != "TILED_FULL" else None
    flavor = next((FLAVORS[value] for value in types if value in FLAVORS), "")
    return Header(
        file=file,
        series=str(dataset.get("SeriesInstanceUID") or ""),
        description=str(dataset.get("SeriesDescription") or ""),
        concatenation=str(dataset.get("ConcatenationUID") or dataset.get("SOPInstanceUID") or file),
        first_frame=int(dataset.get("ConcatenationFrameOffsetNumber") or 0),
        shape=shape,
        frame=frame,
        frames=frames,
        syntax=str(dataset.file_meta.TransferSyntaxUID),
        photometric=str(dataset.get("PhotometricInterpretation") or ""),
        samples=int(dataset.get("SamplesPerPixel") or 1),
        bits=int(dataset.get("BitsAllocated") or 8),
        stored_bits=int(dataset.get("BitsStored") or dataset.get("BitsAllocated") or 8),
        planar=bool(dataset.get("PlanarConfiguration")),
        paths=paths,
        places=places if places and len(places) == frames else None,
        in_rows=organization == "TILED_FULL",
        depths=int(dataset.get("TotalPixelMatrixFocalPlanes") or 1),
        flavor=flavor,
        sizes=_sizes(dataset, per_frame, shape),
        offsets=_whole_numbers(dataset.get("ExtendedOffsetTable")),
        lengths=_whole_numbers(dataset.get("ExtendedOffsetTableLengths")),
        data_at=data_at,
        explicit=not dataset.file_meta.TransferSyntaxUID.is_implicit_VR,
    )


def _paths(dataset: Any) -> tuple[tuple[str, str], ...]:
    paths = []
    for item in dataset.get("OpticalPathSequence") or ():
        name = str(item.get("OpticalPathIdentifier") or "")
        paths.append((name, str(item.get("OpticalPathDescription") or name)))
    return tuple(paths) or (("", ""),)


def _places(per_frame: list[Any], paths: tuple[tuple[str, str], ...]) -> tuple[FramePlace, ...]:
    places = []
    for group in per_frame:
        positions = group.get("PlanePositionSlideSequence")
        if not positions:
            return ()
        optical = group.get("OpticalPathIdentificationSequence")
        name = str(optical[0].OpticalPathIdentifier) if optical else paths[0][0]
        places.append(
            FramePlace(
                int(positions[0].RowPositionInTotalImagePixelMatrix) - 1,
                int(positions[0].ColumnPositionInTotalImagePixelMatrix) - 1,
                name,
                float(positions[0].get("ZOffsetInSlideCoordinateSystem") or 0),
            )
        )
    return tuple(places)


def _sizes(dataset: Any, per_frame: list[Any], shape: tuple[int, int]) -> PixelSizes:
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or ())
    for group in (*shared, *per_frame[:1]):
        measures = group.get("PixelMeasuresSequence")
        if measures and measures[0].get("PixelSpacing"):
            y, x = (float(value) for value in measures[0].PixelSpacing)
            return stated_size(y, x, ("mm", "mm"), where="DICOM pixel spacing")
    volume = [dataset.get(f"ImagedVolume{side}") for side in ("Height", "Width")]
    if not all(volume):
        return PixelSizes()
    y, x = (float(side) / length for side, length in zip(volume, shape, strict=True))
    if abs(y - x) > NOT_SQUARE * x:
        sides = " x ".join(f"{float(side):g}" for side in volume)
        return PixelSizes(
            unread=(f"DICOM imaged volume says {sides} mm for {shape[0]} x {shape[1]} px",)
        )
    return stated_size(y, x, ("mm", "mm"), where="DICOM imaged volume")


def _whole_numbers(table: bytes | None) -> tuple[int, ...]:
    """The numbers of 8 bytes of an extended offset table."""
    data = table or b""
    return tuple(
        int.from_bytes(data[start : start + 8], "little") for start in range(0, len(data), 8)
    )
