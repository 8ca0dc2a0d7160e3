"""The manifest: a CSV that names images, annotations, splits and sources.

Every row is checked before the first hour of work, and all faults are in
one report. `source_id` (patient, slide or field of view) may not stand in two
splits, nor may an image, by its path or its bytes: a network scored on its own
training patients looks better than it is.
"""

import difflib
import hashlib
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nucleipel.core.listing import first_faults
from nucleipel.errors import ImageError, ManifestError
from nucleipel.io.manifest_csv import read_records
from nucleipel.io.manifest_rows import Row, check_id, check_record, is_there, names_a_folder
from nucleipel.io.records.fingerprint import fingerprint
from nucleipel.io.slides.formats import open_image
from nucleipel.io.slides.slide import image_stem
from nucleipel.io.slides.slide_reader import SlideReader

__all__ = ["Manifest", "Row", "manifest_of_images", "names_a_folder", "read_manifest"]


@dataclass(frozen=True, slots=True)
class Manifest:
    """Checked rows, in file order."""

    path: Path | None
    rows: tuple[Row, ...]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def of_split(self, split: str) -> "Manifest":
        """The rows of one split.

        Raises
        ------
        ManifestError
            If there is none.
        """
        rows = tuple(row for row in self.rows if row.split == split)
        if not rows:
            names = ", ".join(sorted({row.split or "(empty)" for row in self.rows}))
            raise ManifestError(f"{self.path}: no row has split '{split}'; found {names}")
        return Manifest(self.path, rows)

    def of_ids(self, ids: Sequence[str]) -> "Manifest":
        """The rows of these ids, in file order.

        Raises
        ------
        ManifestError
            If an id is not there.
        """
        known = {row.id for row in self.rows}
        for name in ids:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ManifestError(f"{self.path}: no image has the id '{name}'{hint}")
        return Manifest(self.path, tuple(row for row in self.rows if row.id in ids))

    def grouped(self, column: str) -> dict[str, list[int]]:
        """Places of the rows that have each value of a column, by value.

        Raises
        ------
        ManifestError
            If there is no such column.
        """
        groups: dict[str, list[int]] = {}
        for place, row in enumerate(self.rows):
            if column not in row.columns:
                names = ", ".join(row.columns)
                raise ManifestError(f"{self.path}: column '{column}' is missing; found {names}")
            groups.setdefault(row.columns[column], []).append(place)
        return dict(sorted(groups.items()))

    def where(self, column: str, value: str) -> "Manifest":
        """The rows that have a value in a column.

        Raises
        ------
        ManifestError
            If there is no such column, or no such value in it.
        """
        groups = self.grouped(column)
        if value not in groups:
            found = ", ".join(groups)
            raise ManifestError(f"{self.path}: no {column} is '{value}'; found {found}")
        return Manifest(self.path, tuple(self.rows[place] for place in groups[value]))

    def annotated(self) -> "Manifest":
        """These rows, every one of which must have a label.

        Raises
        ------
        ManifestError
            If one has none.
        """
        for row in self.rows:
            row.require_label()
        return self

    def require_readable(self, reader: SlideReader) -> "Manifest":
        """Check that each image fits the working mpp and the network's channels; return all rows.

        Raises
        ------
        ImageError
            One message with every image that does not.
        """
        faults = []
        for row in self.rows:
            try:
                row.open(reader).close()
            except ImageError as error:
                faults.append(str(error))
        if len(faults) > 1:
            raise ImageError(f"{len(faults)} images cannot be used: {first_faults(faults)}")
        if faults:
            raise ImageError(faults[0])
        return self

    def fingerprint(self, *, column: str = "") -> str:
        """Hash of what the rows say and of the files they name, wherever these lie.

        Of the `columns` it holds one, if that is named.

        Raises
        ------
        ManifestError
            If there is no such column.
        """
        digest = hashlib.sha256()
        if column:
            digest.update(repr(self.grouped(column)).encode())
        for row in self.rows:
            label = fingerprint(row.label) if row.label else ""
            fields = (row.id, row.split, row.source_id, row.mpp, fingerprint(row.image), label)
            digest.update(repr(fields if row.series is None else (*fields, row.series)).encode())
            if row.region:
                digest.update(fingerprint(row.region).encode())
        return digest.hexdigest()


def read_manifest(
    path: Path,
    *,
    data_root: Path | None = None,
    needed: Collection[str] | None = None,
    series: int | str | None = None,
    optional: Collection[str] = (),
) -> Manifest:
    """Read and check a manifest; relative paths start at `data_root` or the CSV's folder.

    `series` is that of images whose row names none. Columns that are `optional` may
    be missing, as if all their cells were empty.
    Of splits that are not `needed` (None: all are), a file that is there but
    cannot be read is only warned of: whoever needs its pixels will fail, and
    nobody else.

    Raises
    ------
    ManifestError
        One message with every fault: a missing column, a missing file, shapes
        of image and label that differ, a label that is no instance map, an
        unknown split, a bad mpp, two rows of one image or id, a source or an
        image in two splits.
    """
    records = read_records(path, optional=optional)
    root = data_root or path.parent
    faults: list[str] = []
    rows = {}
    for line, record in records:
        row, row_faults = check_record(record, root, needed=needed, series=series)
        faults += [f"line {line}: {fault}" for fault in row_faults]
        rows[line] = row
    faults += _repeated_rows(rows) + _repeated_ids(rows)
    faults += _split_sources(list(rows.values())) + _split_images(rows)
    if len(faults) == 1:
        raise ManifestError(f"{path}: {faults[0]}")
    if faults:
        raise ManifestError(f"{path}: {len(faults)} faults: {first_faults(faults)}")
    return Manifest(path, tuple(rows.values()))


def manifest_of_images(
    images: Sequence[Path], *, mpp: float | None = None, series: int | str | None = None
) -> Manifest:
    """A manifest for images named one by one; each takes its stem as id.

    Raises
    ------
    ManifestError
        If two images share a stem, or one cannot name a folder.
    ImageError
        If an image is missing, or cannot be read.
    """
    rows = tuple(
        Row(
            unicodedata.normalize("NFC", image_stem(image)),
            image,
            None,
            "",
            "",
            mpp,
            {},
            series=series,
        )
        for image in images
    )
    for row in rows:
        open_image(row.image, series=series).close()  # says what is wrong, before any work
    faults = [f"{row.image}: {fault}" for row in rows for fault in check_id(row.id)]
    faults += _repeated_ids(dict(enumerate(rows)), tell_lines=False)
    if faults:
        raise ManifestError(f"{faults[0]}; list the images in a manifest with an 'id' column")
    return Manifest(None, rows)


def _repeated_rows(rows: Mapping[int, Row]) -> list[str]:
    seen: dict[tuple[object, ...], int] = {}
    faults = []
    for line, row in rows.items():
        key = (row.image.resolve(), row.series, row.label and row.label.resolve())
        if key in seen:
            faults.append(f"lines {seen[key]} and {line}: the same image {row.image}; drop one")
        seen[key] = line
    return faults


def _repeated_ids(rows: Mapping[int, Row], *, tell_lines: bool = True) -> list[str]:
    seen: dict[str, int] = {}
    faults = []
    for line, row in rows.items():
        # a file system that folds case or accents would write both into one folder
        key = unicodedata.normalize("NFC", row.id).casefold()
        if key in seen:
            where = f"lines {seen[key]} and {line}: " if tell_lines else ""
            faults.append(f"{where}{rows[seen[key]].image} and {row.image} share the id '{row.id}'")
        seen[key] = line
    return faults


def _split_sources(rows: Sequence[Row]) -> list[str]:
    splits: dict[str, set[str]] = {}
    for row in rows:
        if row.split and row.source_id:
            source = unicodedata.normalize("NFC", row.source_id)
            splits.setdefault(source, set()).add(row.split)
    return [
        f"source_id '{source}' is in the splits {' and '.join(sorted(names))};"
        " keep each source in one"
        for source, names in splits.items()
        if len(names) > 1
    ]


def _split_images(rows: Mapping[int, Row]) -> list[str]:
    """One image in two splits under another name, or as a copy of the same bytes."""
    of_size: dict[int, list[int]] = {}
    for line, row in rows.items():
        if row.split and is_there(row.image):
            of_size.setdefault(0 if row.image.is_dir() else row.image.stat().st_size, []).append(
                line
            )
    faults = []
    for lines in of_size.values():
        if len({rows[line].split for line in lines}) < 2:
            continue
        seen: dict[str, int] = {}
        for line in lines:
            content = fingerprint(rows[line].image)
            first = seen.setdefault(content, line)
            if rows[first].split != rows[line].split:
                faults.append(
                    f"lines {first} and {line}: {rows[first].image} in {rows[first].split} and"
                    f" {rows[line].image} in {rows[line].split} hold the same bytes; keep each"
                    " image in one split"
                )
    return faults
