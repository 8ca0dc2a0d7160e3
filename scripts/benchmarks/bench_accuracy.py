r"""Score several sets of instance maps on the same images, in one table.

    python scripts/benchmarks/bench_accuracy.py --manifest data_manifests/dsb2018.csv \
        --data-root DATA_ROOT --split test --where modality=fluorescence nucleipel=OUT stardist=PEER

A set is a folder as `nucleipel segment` writes it (OUT/<id>/instances.ome.tif), or one with a
label TIFF an image (PEER/<id>.tif). Scores are pooled over all nuclei of all images: Dice, AJI, PQ,
and AP = TP / (TP + FP + FN) at IoU .50 to .90. With --intervals, also 95 % intervals of the scores,
and of each set's lead over the next ones, by draws of the sources (fields of view, patients).
"""

import argparse
import csv
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nucleipel.errors import NucleipelError
from nucleipel.io.manifest import Row, read_manifest
from nucleipel.io.nuclei.image_output import read_instance_map
from nucleipel.io.slides.slide import read_annotation
from nucleipel.metrics.bootstrap import source_bootstrap
from nucleipel.metrics.scores import ImageScore, pool

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
COLUMNS = ("dice", "aji", "pq", *(f"ap@{threshold:.2f}" for threshold in THRESHOLDS))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; with --csv, write it too."""
    options = _parse(arguments)
    try:
        rows = _chosen(options)
        scores = {name: _scores(rows, folder) for name, folder in options.sets}
    except NucleipelError as error:
        sys.exit(f"error: {error}")
    if options.intervals:
        table = _with_intervals(scores, [row.source_id for row in rows])
    else:
        table = {name: pool(of_set) for name, of_set in scores.items()}
    width = max(len(name) for name in table) + 2
    sys.stdout.write(f"{len(rows)} images, pooled over nuclei\n")
    sys.stdout.write(" " * width + "".join(f"{column:>9}" for column in COLUMNS) + "\n")
    for name, of_set in table.items():
        cells = "".join(f"{of_set[column]:9.4f}" for column in COLUMNS)
        sys.stdout.write(f"{name:{width}}{cells}\n")
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["set", "images", *COLUMNS])
            for name, of_set in table.items():
                writer.writerow([name, len(rows), *(f"{of_set[c]:.4f}" for c in COLUMNS)])


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--where", type=_pair, help="only rows with this value: COLUMN=VALUE")
    parser.add_argument("--intervals", action="store_true", help="say how sure each score is")
    parser.add_argument("--csv", type=Path, help="write the table here too")
    parser.add_argument("sets", type=_set, nargs="+", metavar="NAME=FOLDER")
    return parser.parse_args(arguments)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"'{text}': expected NAME=VALUE")
    return name, value


def _set(text: str) -> tuple[str, Path]:
    name, folder = _pair(text)
    return name, Path(folder)


def _chosen(options: argparse.Namespace) -> list[Row]:
    manifest = read_manifest(options.manifest, data_root=options.data_root)
    manifest = manifest.of_split(options.split).annotated()
    return list(manifest.where(*options.where) if options.where else manifest)


def _with_intervals(
    scores: dict[str, list[ImageScore]], sources: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Rows of each set, of its leads over the later ones, and of both ends of their intervals."""
    pairs = list(itertools.combinations(scores, 2))

    def rows_of(places: Sequence[int]) -> npt.NDArray[np.float64]:
        pooled = {
            name: pool([of_set[place] for place in places]) for name, of_set in scores.items()
        }
        found = {name: np.array([of_set[c] for c in COLUMNS]) for name, of_set in pooled.items()}
        return np.stack([*found.values(), *(found[one] - found[other] for one, other in pairs)])

    names = [*scores, *(f"{one} - {other}" for one, other in pairs)]
    found, (low, high) = rows_of(range(len(sources))), source_bootstrap(sources, rows_of)
    return {
        f"{name}{end}": dict(zip(COLUMNS, row, strict=True))
        for name, *rows in zip(names, found, low, high, strict=True)
        for end, row in zip(("", ", from", ", to"), rows, strict=True)
    }


def _scores(rows: Sequence[Row], folder: Path) -> list[ImageScore]:
    scores = []
    for row in rows:
        annotation = read_annotation(row.require_label())
        plain = folder / f"{row.id}.tif"
        found = read_annotation(plain) if plain.is_file() else read_instance_map(folder, row.id)
        if found.shape != annotation.shape:
            sys.exit(
                f"error: {folder}, image {row.id}: {found.shape}, annotated {annotation.shape};"
                " the maps must be those of the manifest's images"
            )
        scores.append(ImageScore.of(annotation, found, ap_thresholds=THRESHOLDS))
    return scores


if __name__ == "__main__":
    main()
