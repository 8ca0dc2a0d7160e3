r"""How much annotation helps: `nucleipel finetune` on more and more images, against the start.

    python scripts/reproduce/learning_curve.py --manifest data_manifests/monuseg.csv \
        --data-root DATA_ROOT --out DIR --images 1 2 4 8 16 26 --nuclei 20 50 200 --seed 0 1 2

Images are taken from the rows of the split `train` in a random order of each seed: more images
hold the fewer ones. `--nuclei` takes one square region in the first image of the order, grown
around its middle until it holds so many. `--regions` takes so many squares of --region-px twice:
those that `nucleipel suggest` finds in the images, and as many at random. Each result is scored on
all rows of `test` (or of the split --score), which has no part in any choice, and so is the start.
With `--from-scratch WINDOWS` a network is instead trained on each set from random weights, with so
many windows, and its numbers of the instance rule are chosen on the images that it was trained on.
After a kill the same command continues.

Writes `curve_test.csv` (a line a result, with its gain over the start and 95 % intervals by draws
of the sources) and `curve_test.png`.
"""

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nucleipel.config import (
    CalibrateConfig,
    FinetuneConfig,
    SuggestConfig,
    TrainConfig,
    load_config,
)
from nucleipel.core.geometry import Box
from nucleipel.errors import NucleipelError
from nucleipel.io.annotations.cut_region import cut_region
from nucleipel.io.annotations.region import write_region
from nucleipel.io.csv_table import write_table
from nucleipel.io.manifest import Manifest, Row, read_manifest
from nucleipel.io.slides.slide import read_annotation
from nucleipel.io.slides.slide_reader import SlideReader
from nucleipel.metrics.gains import pooled_gains
from nucleipel.metrics.scores import ImageScore, pool
from nucleipel.stages.pipeline.calibrate import calibrate
from nucleipel.stages.pipeline.finetune import REPORT, finetune
from nucleipel.stages.pipeline.halves import annotated_centers
from nucleipel.stages.pipeline.suggest import suggest
from nucleipel.stages.pipeline.train import train

sys.path.insert(0, str(Path(__file__).parent))  # also where another script runs this one

from checkpoint_scores import score_checkpoint

ANY_IMAGE = SlideReader(channels=3)
WINDOWS_PER_EPOCH = 512
CALIBRATED_IMAGES = 4
"""Images that three numbers are chosen on, after a training from random weights."""
MEASURES = ("pq", "aji", "dice", "ap@0.50", "ap@0.75")


def main(arguments: Sequence[str] | None = None) -> None:
    """Fine-tune and score what is missing; write the table and the picture."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        _run(options)
    except NucleipelError as error:
        sys.exit(f"error: {error}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument(
        "--where", type=lambda text: text.partition("=")[::2], metavar="COLUMN=VALUE",
        help="only rows with this value",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, default=Path("default"), help="the start")
    parser.add_argument("--images", type=int, nargs="*", default=[])
    parser.add_argument("--nuclei", type=int, nargs="*", default=[])
    parser.add_argument("--regions", type=int, nargs="*", default=[])
    parser.add_argument("--region-px", type=int, default=256)
    parser.add_argument("--from-scratch", type=int, metavar="WINDOWS")
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--score", default="test", help="split that results are scored on")
    parser.add_argument("--config", type=Path, help="settings of nucleipel finetune")
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> None:
    manifest = read_manifest(options.manifest, data_root=options.data_root)
    if options.where:
        manifest = manifest.where(*options.where)
    pool_rows, split = manifest.of_split("train").annotated(), options.score
    scored, found = manifest.of_split(split).annotated(), options.out / f"found_{split}"
    start = score_checkpoint(options.checkpoint, scored, found / "start")
    lines = [_line("start", 0, 0, "", start, start, scored)]
    for seed in options.seed:
        for name, rows in _sets(options, pool_rows, seed):
            out = options.out / f"{name}-seed-{seed}"
            data = _write_manifest(options.out / f"{out.name}.csv", rows)
            config = load_config(
                FinetuneConfig,
                file=options.config,
                assignments=[*options.assignments, f"seed={seed}"],
            )
            if options.from_scratch:
                checkpoint, kept = _from_scratch(data, out, config, options.from_scratch), "scratch"
                annotated = sum(len(annotated_centers(row, ANY_IMAGE)) for row in rows)
            else:
                checkpoint = finetune(data, out, config, checkpoint=options.checkpoint)
                report = json.loads((out / REPORT).read_text(encoding="utf-8"))
                kept, annotated = report["kept"], report["annotated_nuclei"]
            scores = score_checkpoint(checkpoint, scored, found / out.name)
            lines.append(_line(name, seed, annotated, kept, scores, start, scored))
            write_table(options.out / f"curve_{split}.csv", lines)
            _draw(lines, split).savefig(options.out / f"curve_{split}.png", dpi=150)


def _from_scratch(data: Path, out: Path, config: FinetuneConfig, windows: int) -> Path:
    """Train on the rows from random weights, without a val, and calibrate on the same rows."""
    rows = read_manifest(data, optional=("split",))
    both = [dataclasses.replace(row, split=split) for split in ("train", "val") for row in rows]
    epochs = -(-windows // WINDOWS_PER_EPOCH)
    of_finetune = ("device", "precision", "workers", "seed", "window_px", "batch_size", "augment")
    settings = TrainConfig.model_validate({
        **config.model_dump(include=set(of_finetune)),
        "epochs": epochs,
        "validate_every": epochs,
        "validation_windows": 1,
        "windows_per_epoch": min(windows, WINDOWS_PER_EPOCH),
        "keep": "last",
    })  # fmt: skip
    run = train(Manifest(data, tuple(both)), out / "train", settings)
    some = Manifest(data, rows.rows[:CALIBRATED_IMAGES])
    return calibrate(run, some, out / "calibrated", CalibrateConfig(device=config.device))


def _sets(
    options: argparse.Namespace, rows: Manifest, seed: int
) -> list[tuple[str, Sequence[Row]]]:
    """Annotations to fine-tune on, by name, the smallest first."""
    order = np.random.default_rng(seed).permutation(len(rows))
    images = [rows.rows[place] for place in order]
    regions = options.out / "regions"
    sets: list[tuple[str, Sequence[Row]]] = [
        (f"{count}-nuclei", [_around_the_middle(images[0], count, regions)])
        for count in sorted(options.nuclei)
    ]
    for count in sorted(options.images):
        if count > len(images):
            sys.exit(f"error: --images {count}: train has {len(images)} images")
        sets.append((f"{count}-images", images[:count]))
    for count in sorted(options.regions):
        sets.append((f"{count}-suggested", _suggested(options, rows, count)))
        sets.append((f"{count}-random", _random(options, rows, count, seed)))
    return sets


def _suggested(options: argparse.Namespace, rows: Manifest, count: int) -> list[Row]:
    """The images with the regions that the start is least sure of."""
    config = SuggestConfig(regions=count, size_px=options.region_px)
    folder = suggest(options.checkpoint, rows, options.out / f"{count}-suggested-regions", config)
    files = {path.name.removesuffix(".geojson"): path for path in folder.glob("*.geojson")}
    return [dataclasses.replace(row, region=files[row.id]) for row in rows if row.id in files]


def _random(options: argparse.Namespace, rows: Manifest, count: int, seed: int) -> list[Row]:
    """As many images, as far as there are, with a square at random."""
    draw = np.random.default_rng([seed, count])
    chosen = []
    for place in sorted(draw.permutation(len(rows))[:count].tolist()):
        row = rows.rows[place]
        height, width = read_annotation(row.require_label()).shape
        y, x = (int(draw.integers(max(length - options.region_px, 0) + 1))
                for length in (height, width))  # fmt: skip
        box = Box(y, x, y + options.region_px, x + options.region_px).clip((height, width))
        path = options.out / "regions" / f"{row.id}-random-{count}-seed-{seed}.geojson"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_region(path, cut_region(None, box))
        chosen.append(dataclasses.replace(row, region=path))
    return chosen


def _around_the_middle(row: Row, count: int, folder: Path) -> Row:
    """The image, annotated in the smallest centered square that holds the centers of so many."""
    shape = read_annotation(row.require_label()).shape
    middle = [length // 2 for length in shape]
    far = np.sort(np.abs(annotated_centers(row, ANY_IMAGE) - middle).max(axis=1))
    half = int(far[min(count, len(far)) - 1]) + 1
    box = Box(middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{row.id}-{count}.geojson"
    write_region(path, cut_region(None, box.clip(shape)))
    return dataclasses.replace(row, region=path)


def _write_manifest(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows without a split; the images of one source stay together."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "id": row.id,
            "image": row.image.resolve(),
            "label": row.require_label().resolve(),
            "region": row.region.resolve() if row.region else "",
            "split": "",
            "source_id": row.source_id,
            "mpp": row.mpp or "",
        }
        for row in rows
    ]
    write_table(path, lines)
    return path


def _line(
    name: str,
    seed: int,
    annotated: int,
    kept: str,
    scores: list[ImageScore],
    start: list[ImageScore],
    scored: Manifest,
) -> dict[str, Any]:
    pooled = pool(scores)
    line: dict[str, Any] = {"annotated": name, "seed": seed, "nuclei": annotated, "kept": kept}
    line |= {measure: f"{pooled[measure]:.4f}" for measure in MEASURES}
    gains = pooled_gains(start, scores, [row.source_id for row in scored], _measures)
    for measure in ("pq", "aji"):
        gain = gains[measure]
        ends = {"gain": gain.mean, "from": gain.low, "to": gain.high}
        line |= {f"{measure}_{end}": f"{value:.4f}" for end, value in ends.items()}
    return line


def _measures(pooled: Mapping[str, float]) -> dict[str, float]:
    return {name: pooled[name] for name in MEASURES}


def _draw(lines: Sequence[Mapping[str, Any]], split: str) -> Figure:
    """Draw PQ by annotated nuclei; the interval is that of the gain over the start."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    start, *results = lines
    base = float(start["pq"])
    axes.axhline(base, color="black", lw=0.8)
    axes.annotate("the start", (1, base), (-4, 4), xycoords=("axes fraction", "data"),
                  textcoords="offset points", ha="right", fontsize=8)  # fmt: skip
    for line in results:
        low, high = (base + float(line[f"pq_{end}"]) for end in ("from", "to"))
        color = "tab:blue" if line["kept"] == "fine-tuned" else "tab:orange"
        axes.plot([line["nuclei"]] * 2, [low, high], color=color, lw=1.5, alpha=0.5)
        axes.plot(line["nuclei"], float(line["pq"]), "o", color=color)
        axes.annotate(line["annotated"], (line["nuclei"], float(line["pq"])), (5, 3),
                      textcoords="offset points", fontsize=7)  # fmt: skip
    axes.set(xscale="log", xlabel="annotated nuclei", ylabel=f"PQ on {split}, pooled")
    axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    main()
