r"""Score a checkpoint at every scale, and say how far it agrees with itself there.

    python scripts/reproduce/view_scores.py --manifest data_manifests/monuseg.csv --split val \
        --data-root DATA_ROOT --out views.csv

For each annotated image, each scale of --scale, and stained tissue in color and as its dye: how
sure the network is, how wide nuclei seem, how far it disagrees with its own result, and its scores
at level 0. From this the numbers of `nucleipel/inference/choose_view.py` were chosen. With --zoom,
images are first enlarged or reduced, as if taken with another objective. Prints scores pooled over
nuclei, for each view of all images, for the view of least disagreement of each, and for the view
that `nucleipel segment --scale auto` chooses.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

import nucleipel as npl
from nucleipel.core.geometry import Box
from nucleipel.core.progress import track
from nucleipel.errors import NucleipelError
from nucleipel.instances.disagreement import certainty, disagreement
from nucleipel.instances.nuclear_width import rings
from nucleipel.io.csv_table import write_table
from nucleipel.io.manifest import Row, read_manifest
from nucleipel.io.slides.formats.array import image_of_array
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide import Slide, read_annotation
from nucleipel.io.slides.slide_reader import SlideReader
from nucleipel.metrics.scores import ImageScore, pool

MEASURES = ("pq", "aji", "dice", "ap@0.50", "ap@0.75")
Found = tuple[dict[str, Any], ImageScore]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the table; print what each view reaches."""
    options = _parse(arguments)
    try:
        rows = read_manifest(options.manifest, data_root=options.data_root)
        rows = (rows.of_split(options.split) if options.split else rows).annotated()
        model = npl.load(options.checkpoint)
        found: list[Found] = []
        chosen: list[ImageScore] = []
        for row in track(rows, "images"):
            pixels, annotation = _read(model, row, options.zoom)
            found += _views(model, row.id, pixels, annotation, options.scale)
            labels = model.segment(pixels, scale="auto").labels
            chosen.append(ImageScore.of(annotation, labels))
    except NucleipelError as error:
        sys.exit(f"error: {error}")
    write_table(options.out, [line for line, _ in found])
    of_view: dict[str, list[ImageScore]] = {}
    least: dict[str, Found] = {}
    for line, score in found:
        of_view.setdefault(f"{line['scale']:g} {line['stained_as']}", []).append(score)
        best = least.setdefault(line["id"], (line, score))
        if (line["disagreement"] or 1) < (best[0]["disagreement"] or 1):
            least[line["id"]] = line, score
    of_view["least disagreement"] = [score for _, score in least.values()]
    of_view["chosen"] = chosen
    for name, scores in of_view.items():
        pooled = pool(scores)
        cells = "".join(f"{measure:>9} {pooled[measure]:.3f}" for measure in MEASURES)
        sys.stdout.write(f"{name:20}{len(scores):4} images{cells}\n")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--scale", type=float, nargs="+", default=[0.5, 0.7, 1, 1.4, 2])
    parser.add_argument("--zoom", type=float, default=1.0)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args(arguments)


def _read(
    model: npl.Model, row: Row, zoom: float
) -> tuple[npt.NDArray[Any], npt.NDArray[np.integer]]:
    """The pixels of an image and its instance map, both zoomed."""
    annotation = read_annotation(row.require_label())
    with row.open(SlideReader(channels=model.channels)) as slide:
        pixels = slide.read(Box.of_shape(slide.shape))
    if zoom == 1:
        return pixels, annotation
    height, width = (max(1, round(length * zoom)) for length in annotation.shape)
    smooth = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    zoomed = cv2.resize(pixels, (width, height), interpolation=smooth)
    return zoomed, _zoomed_ids(annotation, (height, width))


def _zoomed_ids(ids: npt.NDArray[np.integer], shape: tuple[int, int]) -> npt.NDArray[np.integer]:
    """Draw an instance map in another shape: each pixel has the id that covers most of it."""
    smaller = shape < ids.shape
    how: dict[str, Any] = {"interpolation": cv2.INTER_AREA if smaller else cv2.INTER_LINEAR}
    drawn, most = np.zeros(shape, ids.dtype), cv2.resize(np.float32(ids == 0), shape[::-1], **how)
    for one in np.unique(ids[ids > 0]):
        share = cv2.resize(np.float32(ids == one), shape[::-1], **how)
        drawn[share > most] = one
        most = np.maximum(most, share)
    return drawn


def _views(
    model: npl.Model,
    name: str,
    pixels: npt.NDArray[Any],
    annotation: npt.NDArray[np.integer],
    scales: Sequence[float],
) -> Iterator[Found]:
    resolution = Resolution.pixel_for_pixel(annotation.shape, None)
    stained = Slide(image_of_array(pixels), resolution).is_stained()
    for stained_as in ("color", "dye") if stained else ("color",):
        for scale in scales:
            settings: dict[str, Any] = {"scale": scale, "stained_as": stained_as}
            maps = model.predict(pixels, **settings)
            score = ImageScore.of(annotation, model.segment(pixels, **settings).labels)
            known = {"id": name, "stained": int(stained), **settings}
            measured = {
                "certainty": certainty(maps).dice,
                "width_px": rings(maps).width(model.checkpoint.description.boundary_px),
                "disagreement": disagreement(maps, model.instances(maps)).mean,
            }
            yield {**known, **measured, **score.to_scores()}, score


if __name__ == "__main__":
    main()
