"""Turn another tool's annotations into labels, regions and a manifest."""

import logging
import os
import shutil
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nucleipel.config import ImportConfig
from nucleipel.core.listing import first_names
from nucleipel.core.progress import track
from nucleipel.errors import ConfigError, ImageError
from nucleipel.io.annotations import FORMATS, AnnotatedSource, ImportOptions
from nucleipel.io.annotations.geoparquet import write_polygons
from nucleipel.io.annotations.objects import Drawn, Outlined
from nucleipel.io.annotations.region import write_region
from nucleipel.io.csv_table import write_table
from nucleipel.io.manifest import names_a_folder
from nucleipel.io.pictures import write_picture
from nucleipel.io.records.fingerprint import fingerprint
from nucleipel.io.records.output import claim_output
from nucleipel.io.slides.write_slide import write_annotation

log = logging.getLogger(__name__)

MANIFEST = "manifest.csv"
COLUMNS = ("image", "label", "split", "source_id", "mpp", "id")
OPTIONAL = ("region", "series")
"""Columns that are there if a row has something in them."""
WITH_REGIONS = ("qupath", "coco", "monuseg")
WITH_IMAGES, OF_LABELS = ("dsb2018", "pannuke"), ("labels", "stardist")


def import_annotations(
    kind: str, source: Path, out: Path, config: ImportConfig, *, overwrite: bool = False
) -> Path:
    """Write the label of every annotated image and `manifest.csv` into `out`; return that.

    A label is `labels/<id>.tif`; of a large image, or one that was annotated in
    regions, `labels/<id>.parquet`, with `regions/<id>.geojson`. Images stay where
    they are, and are named relative to `out`; those that have no file of their
    own become `images/<id>.png`.

    Raises
    ------
    ImageError
        If the source is not what `kind` says, or damaged; a new `out` is then removed.
    """
    options = ImportOptions(
        images=Path(config.images) if config.images is not None else None,
        min_area_px=config.min_area_px,
        split_pieces=config.split_pieces,
        region_classes=config.region_class,
        series=config.series,
    )
    if options.region_classes and kind not in WITH_REGIONS:
        raise ConfigError(
            f"region_class: {kind} names no regions; it goes with {', '.join(WITH_REGIONS)}"
        )
    _require_effect(kind, config)
    items = FORMATS[kind](source, options)
    first = next(items)  # before anything is made: most mistakes show here
    new = not out.exists()
    output = claim_output(
        out,
        stage="import",
        config={"format": kind, **config.identity()},
        inputs={"source": fingerprint(source, without=out)},
        overwrite=overwrite,
    )
    if output.complete:
        log.info("%s: this import is finished", out)
        return out / MANIFEST
    try:
        rows = [_write(item, out, config) for item in track(_again(first, items), "importing")]
        _require_distinct([row["id"] for row in rows], source)
    except ImageError:
        if new:
            shutil.rmtree(out)
        raise
    columns = [*COLUMNS, *(name for name in OPTIONAL if any(row[name] for row in rows))]
    table = [{column: row[column] for column in columns} for row in rows]
    write_table(out / MANIFEST, table, columns=columns)
    _report_own(rows, config)
    output.commit(images=len(rows))
    log.info("%s: %d images", out / MANIFEST, len(rows))
    return out / MANIFEST


def _require_effect(kind: str, config: ImportConfig) -> None:
    """Refuse settings that would do nothing to a format."""
    if config.images is not None and kind in WITH_IMAGES:
        raise ConfigError(f"images: {kind} has its images with its annotations; leave it out")
    if config.series is not None and kind in WITH_IMAGES:
        raise ConfigError(f"series: images of {kind} are single ones; leave it out")
    if config.split_pieces and kind not in OF_LABELS:
        raise ConfigError(f"split_pieces: is for label images ({', '.join(OF_LABELS)})")


def _report_own(rows: Sequence[Mapping[str, str]], config: ImportConfig) -> None:
    """Warn of images that say themselves what a setting says of all."""
    mpp = f"{config.mpp:g}" if config.mpp else ""
    for column, value in (("split", config.split), ("mpp", mpp)):
        own = [row["id"] for row in rows if value and row[column] != value]
        if own:
            log.warning(
                "%s=%s has no effect on %d images, which have their own: %s",
                column, value, len(own), first_names(own),
            )  # fmt: skip


def _again(first: AnnotatedSource, rest: Iterator[AnnotatedSource]) -> Iterator[AnnotatedSource]:
    yield first
    yield from rest


def _write(item: AnnotatedSource, out: Path, config: ImportConfig) -> dict[str, str]:
    """Write one label (and image), log what was lost, and return its manifest row."""
    if not names_a_folder(item.id):
        raise ImageError(f"'{item.id}' cannot name a file; rename the image")
    nuclei = item.nuclei
    if not nuclei.count and nuclei.small:
        raise ImageError(
            f"{item.id}: all {nuclei.small} objects have no pixel or are too small (min_area_px);"
            " are they nuclei of this image, in its pixels?"
        )
    label = _write_label(nuclei, out, item.id)
    region = ""
    if item.region is not None:
        region = f"regions/{item.id}.geojson"
        (out / "regions").mkdir(exist_ok=True)
        write_region(out / region, item.region)
    if isinstance(item.image, Path):
        image = _relative(item.image, out)
    else:
        (out / "images").mkdir(exist_ok=True)
        write_picture(out / "images" / f"{item.id}.png", item.image)
        image = f"images/{item.id}.png"
    covered = nuclei.covered if isinstance(nuclei, Drawn) else 0
    lost = f", {covered} wholly under others" if covered else ""
    lost += f", {nuclei.small} without area or too small" if nuclei.small else ""
    log.info("%s: %d nuclei%s", item.id, nuclei.count, lost)
    mpp = item.mpp or config.mpp
    return {
        "image": Path(image).as_posix(),
        "label": label,
        "split": item.split or config.split,
        "source_id": item.source_id,
        "mpp": f"{mpp:g}" if mpp else "",
        "id": item.id,
        "region": region,
        "series": "" if config.series is None else str(config.series),
    }


def _relative(image: Path, out: Path) -> str:
    """The path of an image from `out`, where links among their folders are followed.

    The image keeps its own name: where it is a link, the name of what it leads to may be a hash.
    """
    return os.path.relpath(image.parent.resolve() / image.name, out.resolve())


def _write_label(nuclei: Drawn | Outlined, out: Path, name: str) -> str:
    (out / "labels").mkdir(exist_ok=True)
    if isinstance(nuclei, Outlined):
        label = f"labels/{name}.parquet"
        write_polygons(out / label, nuclei.polygons)
    else:
        label = f"labels/{name}.tif"
        write_annotation(out / label, nuclei.instance_map)
    return label


def _require_distinct(ids: list[str], source: Path) -> None:
    seen: dict[str, str] = {}
    for name in ids:
        # a file system that folds case or accents would write both into one file
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            raise ImageError(f"{source}: two images are named '{name}'; import them apart")
        seen[key] = name
