"""Turn another tool's annotations into label TIFFs and a manifest."""

import logging
import os
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from nucleipel.config import ImportConfig
from nucleipel.core.progress import track
from nucleipel.errors import ImageError
from nucleipel.io.annotations import FORMATS, AnnotatedSource, Asked
from nucleipel.io.csv_table import write_table
from nucleipel.io.manifest import names_a_folder
from nucleipel.io.pictures import write_picture
from nucleipel.io.records.fingerprint import fingerprint
from nucleipel.io.records.output import claim_output
from nucleipel.io.slides.write_slide import write_annotation

log = logging.getLogger(__name__)

MANIFEST = "manifest.csv"
COLUMNS = ("image", "label", "split", "source_id", "mpp", "id")
SMALL_IDS = 2**16


def import_annotations(
    kind: str, source: Path, out: Path, config: ImportConfig, *, overwrite: bool = False
) -> Path:
    """Write `labels/<id>.tif` of every annotated image and `manifest.csv` into `out`; return that.

    Images stay where they are, and are named relative to `out`; those that
    have no file of their own become `images/<id>.png`.

    Raises
    ------
    ImageError
        If the source is not what `kind` says, or damaged; a new `out` is then removed.
    """
    asked = Asked(
        images=Path(config.images) if config.images is not None else None,
        min_area_px=config.min_area_px,
        split_pieces=config.split_pieces,
    )
    found = FORMATS[kind](source, asked)
    first = next(found)  # before anything is made: most mistakes show here
    new = not out.exists()
    output = claim_output(
        out,
        stage="import",
        config={"format": kind, **config.identity()},
        inputs={"source": fingerprint(source)},
        overwrite=overwrite,
    )
    if output.complete:
        log.info("%s: this import is finished", out)
        return out / MANIFEST
    try:
        rows = [_write(item, out, config) for item in track(_again(first, found), "importing")]
        _require_distinct([row["id"] for row in rows], source)
    except ImageError:
        if new:
            shutil.rmtree(out)
        raise
    write_table(out / MANIFEST, rows, columns=COLUMNS)
    output.commit(images=len(rows))
    log.info("%s: %d images", out / MANIFEST, len(rows))
    return out / MANIFEST


def _again(first: AnnotatedSource, rest: Iterator[AnnotatedSource]) -> Iterator[AnnotatedSource]:
    yield first
    yield from rest


def _write(item: AnnotatedSource, out: Path, config: ImportConfig) -> dict[str, str]:
    """Write one label (and image), tell what was lost, and give its manifest row."""
    if not names_a_folder(item.id):
        raise ImageError(f"'{item.id}' cannot name a file; rename the image")
    drawn = item.drawn
    label = out / "labels" / f"{item.id}.tif"
    label.parent.mkdir(exist_ok=True)
    write_annotation(
        label, drawn.instance_map.astype("uint16" if drawn.count < SMALL_IDS else "uint32")
    )
    if isinstance(item.image, Path):
        image = os.path.relpath(item.image, out)
    else:
        (out / "images").mkdir(exist_ok=True)
        write_picture(out / "images" / f"{item.id}.png", item.image)
        image = f"images/{item.id}.png"
    lost = f", {drawn.covered} wholly under others" if drawn.covered else ""
    lost += f", {drawn.small} without area or too small" if drawn.small else ""
    log.info("%s: %d nuclei%s", item.id, drawn.count, lost)
    mpp = item.mpp or config.mpp
    return {
        "image": Path(image).as_posix(),
        "label": f"labels/{item.id}.tif",
        "split": item.split or config.split,
        "source_id": item.source_id,
        "mpp": f"{mpp:g}" if mpp else "",
        "id": item.id,
    }


def _require_distinct(ids: list[str], source: Path) -> None:
    seen: dict[str, str] = {}
    for name in ids:
        # a file system that folds case or accents would write both into one file
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            raise ImageError(f"{source}: two images are named '{name}'; import them apart")
        seen[key] = name
