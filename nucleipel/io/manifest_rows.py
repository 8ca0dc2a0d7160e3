"""One row of a manifest, and the checks of what it says and of the files it names."""

import logging
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nucleipel.core.accents import existing_path
from nucleipel.errors import ImageError, ManifestError
from nucleipel.io.annotations.annotation import Annotation, load_annotation
from nucleipel.io.annotations.plausibility import assess_map, gray_reader, require_plausible
from nucleipel.io.annotations.region import is_polygon_file
from nucleipel.io.slides.slide import Slide, image_stem, open_annotation, open_slide
from nucleipel.io.slides.slide_reader import SlideReader

log = logging.getLogger(__name__)

FILES = ("image", "label", "region")
SPLITS = ("train", "val", "test", "")
LONGEST_ID_BYTES = 240
"""Names that are derived from an id, such as `.<id>.tif.partial`, must fit in 255 bytes."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a manifest; paths are resolved, and None where the cell is empty.

    `columns` holds every cell as it stands, also those of columns that mean
    nothing here. `region` is the file of what was annotated completely; without
    one, that is all of the image. `series` is the index or name of one of several images in
    the file.
    """

    id: str
    image: Path
    label: Path | None
    split: str
    source_id: str
    mpp: float | None
    columns: Mapping[str, str]
    region: Path | None = None
    series: int | str | None = None

    def open(self, reader: SlideReader) -> Slide:
        """Open the image in its working frame; errors as `SlideReader.open`."""
        return reader.open(self.image, mpp=self.mpp, series=self.series)

    def load_annotation(self, shape: tuple[int, int]) -> Annotation:
        """The annotation of the image, whose level 0 is (height, width).

        Raises
        ------
        ManifestError
            If the row has no label.
        ImageError
            If a file of polygons or a region cannot be read, or does not fit the image.
        """
        return load_annotation(self.require_label(), self.region, shape)

    def require_label(self) -> Path:
        """The label's path.

        Raises
        ------
        ManifestError
            If the row has none.
        """
        if self.label is None:
            raise ManifestError(
                f"image '{self.id}' has no label in the manifest; fill the cell or drop the row"
            )
        return self.label


def check_record(
    record: dict[str, str],
    root: Path,
    *,
    needed: Collection[str] | None,
    series: int | str | None = None,
) -> tuple[Row, list[str]]:
    """Make a row of its cells, and say what is wrong with it.

    Relative paths start at `root`; of splits that are not `needed`, a file that
    is there but cannot be read is only warned of. `series` is that of a row which names none.
    """
    cells = {column: value.strip() for column, value in record.items()}
    faults = []
    image = existing_path(root / cells["image"])
    label = existing_path(root / cells["label"]) if cells["label"] else None
    region = existing_path(root / cells["region"]) if cells.get("region") else None
    row_id = unicodedata.normalize("NFC", cells.get("id") or image_stem(image))
    backslashes = [name for name in FILES if "\\" in cells.get(name, "")]
    faults += _check_backslashes(cells, root, backslashes) or check_id(row_id)
    if cells["split"] not in SPLITS:
        faults.append(f"split '{cells['split']}'; expected train, val, test or empty")
    if cells["split"] and not cells["source_id"]:
        faults.append("source_id is empty; name the patient, slide or field of view")
    mpp, mpp_fault = _read_mpp(cells.get("mpp", ""))
    if region and not label:
        faults.append("a region, but no label; name the nuclei that were annotated in it")
    name = cells.get("series", "")
    series = (int(name) if name.isdecimal() else name) if name else series
    file_faults = [] if faults and backslashes else _check_files(image, label, region, mpp, series)
    spared = needed is not None and cells["split"] not in needed
    if spared and all(is_there(path) for path in (image, label, region) if path):
        for fault in file_faults:
            log.warning("%s", fault)
        file_faults = []
    faults += mpp_fault + file_faults
    split, source_id = cells["split"], cells["source_id"]
    return Row(row_id, image, label, split, source_id, mpp, cells, region, series), faults


def _check_backslashes(cells: Mapping[str, str], root: Path, columns: Sequence[str]) -> list[str]:
    """Paths as Windows writes them: what they would be here."""
    faults = []
    for column in columns:
        path = cells[column]
        if is_there(root / path):  # a name may have them
            continue
        here = path.replace("\\", "/")
        fix = f"write {here}" if is_there(root / here) else "write the path of this machine, with /"
        faults.append(f"{column} '{path}' has backslashes; {fix}")
    return faults


def is_there(path: Path) -> bool:
    """Return whether a path exists; False for a name that is too long to."""
    try:
        return path.exists()
    except OSError:
        return False


def check_id(row_id: str) -> list[str]:
    """Say what is wrong with an id, if anything."""
    if names_a_folder(row_id):
        return []
    shown = repr(row_id)[1:-1]
    shown = shown if len(shown) <= 100 else f"{shown[:100]}..."
    return [
        f"id '{shown}' cannot name a folder; use letters, digits, '-', '_' and '.', at most"
        f" {LONGEST_ID_BYTES} bytes, no dot first"
    ]


def names_a_folder(row_id: str) -> bool:
    """Return whether an id can name a folder anywhere: no path, no control character, not long.

    Bytes of a file name that are no UTF-8 arrive as surrogates, which no file can hold.
    """
    refused = r"\x00-\x1f\x7f-\x9f\ud800-\udfff/\\"
    plain = re.fullmatch(rf"[^{refused}.][^{refused}]*", row_id)
    return bool(plain) and len(row_id.encode()) <= LONGEST_ID_BYTES


def _read_mpp(text: str) -> tuple[float | None, list[str]]:
    if not text:
        return None, []
    try:
        mpp = float(text)
    except ValueError:
        mpp = float("nan")
    if 0.01 <= mpp <= 100:
        return mpp, []
    fix = f"; write {text.replace(',', '.')}" if "," in text else ""
    return None, [
        f"mpp '{text}'; expected micrometers per pixel (0.01 to 100) or an empty cell{fix}"
    ]


def _check_files(
    image: Path,
    label: Path | None,
    region: Path | None,
    mpp: float | None,
    series: int | str | None,
) -> list[str]:
    try:
        with open_slide(image, mpp=mpp, series=series) as slide:
            if label is None:
                return []
            if region is not None or is_polygon_file(label):
                load_annotation(label, region, slide.shape)
            return [] if is_polygon_file(label) else _check_map(label, slide)
    except ImageError as error:
        return [str(error)]


def _check_map(label: Path, slide: Slide) -> list[str]:
    with open_annotation(label) as annotation:
        shape = slide.shape
        if annotation.shape != shape:
            return [
                f"{label}: the label is {annotation.shape[0]} x {annotation.shape[1]} px, its"
                f" image {shape[0]} x {shape[1]} px; they must be the same"
            ]
        same_kind = annotation.image.dtype == slide.dtype
        pixels = gray_reader(slide.image) if same_kind else None
        require_plausible(label, assess_map(annotation.read, shape, image=pixels))
    return []
