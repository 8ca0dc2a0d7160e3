"""Run every stage on a generated slide: the shortest way to see nucleipel work."""

import logging
from pathlib import Path

import numpy as np

from nucleipel.config import (
    DemoConfig,
    EvaluateConfig,
    FinetunePatchesConfig,
    PredictConfig,
    StitchConfig,
    TileConfig,
    TrainConfig,
)
from nucleipel.core.atomic import write_text
from nucleipel.data.synthetic import build_scene
from nucleipel.errors import TrainingError
from nucleipel.io.manifest import read_manifest
from nucleipel.io.nuclei.image_output import OVERLAY
from nucleipel.io.records.output import claim_output
from nucleipel.io.slides.write_slide import write_annotation, write_slide
from nucleipel.stages.pipeline.evaluate import evaluate
from nucleipel.stages.pipeline.finetune_patches import finetune_patches
from nucleipel.stages.pipeline.predict import predict
from nucleipel.stages.pipeline.stitch import stitch
from nucleipel.stages.pipeline.tile import tile
from nucleipel.stages.pipeline.train import train

log = logging.getLogger(__name__)

MPP = 0.5
PARTS = {"train": 4, "val": 1, "test": 3}
"""Eighths of the slide's width, from left to right; `test` is never seen in training."""


def demo(out: Path, config: DemoConfig, *, overwrite: bool = False) -> Path:
    """Make a slide, train, tile, fine-tune, predict, stitch and score; return the overlay's path.

    Raises
    ------
    TrainingError
        If the PQ on the held-apart part is under `config.minimum_pq`.
    """
    output = claim_output(
        out, stage="demo", config=config.identity(), inputs={}, overwrite=overwrite
    )
    manifest = _make_slide(out / "slide", config)
    run = train(manifest, out / "train", _train_config(config))
    patches = tile(manifest, out / "patches.zarr", TileConfig(mpp=MPP))
    tuned = finetune_patches(run, patches, out / "finetune", _finetune_config(config))
    held_apart = read_manifest(manifest).of_split("test")
    maps = predict(tuned, held_apart, out / "predictions.zarr", PredictConfig(device=config.device))
    instances = stitch(maps, out / "instances", StitchConfig())
    report = evaluate(manifest, instances, out / "report.json", EvaluateConfig(), split="test")
    scores = report["pooled_over_nuclei"]
    shown = ", ".join(f"{name} {scores[name]:.3f}" for name in ("dice", "aji", "pq", "ap@0.50"))
    log.info("held-apart part, %d nuclei: %s", report["annotated_nuclei"], shown)
    if scores["pq"] < config.minimum_pq:
        raise TrainingError(
            f"{out / 'report.json'}: PQ {scores['pq']:.3f} on the held-apart part; expected at"
            f" least {config.minimum_pq:g}; train longer with --set epochs="
        )
    output.commit(scores=scores)
    return instances / held_apart.rows[0].id / OVERLAY


def _make_slide(folder: Path, config: DemoConfig) -> Path:
    """Generate a slide in three files, left to right, and their manifest."""
    manifest = folder / "manifest.csv"
    if manifest.is_file():
        return manifest
    folder.mkdir(exist_ok=True)
    scene = build_scene((config.height_px, config.width_px), seed=config.seed)
    edges = np.cumsum([0, *PARTS.values()]) * config.width_px // sum(PARTS.values())
    lines = ["image,label,split,source_id,mpp"]
    for split, start, stop in zip(PARTS, edges[:-1], edges[1:], strict=True):
        write_slide(folder / f"{split}.ome.tif", scene.image[:, start:stop], mpp=MPP)
        write_annotation(folder / f"{split}_label.tif", scene.instance_map[:, start:stop])
        lines.append(f"{split}.ome.tif,{split}_label.tif,{split},part-{split},{MPP}")
    write_text(manifest, "\n".join(lines) + "\n")
    return manifest


def _train_config(config: DemoConfig) -> TrainConfig:
    return TrainConfig(
        device=config.device,
        workers=config.workers,
        seed=config.seed,
        mpp=MPP,
        window_px=256,
        windows_per_epoch=96,
        epochs=config.epochs,
        ema_decay=0.98,
        warmup_steps=10,
        learning_rate=4e-3,
    )


def _finetune_config(config: DemoConfig) -> FinetunePatchesConfig:
    return FinetunePatchesConfig(
        device=config.device,
        workers=config.workers,
        seed=config.seed,
        epochs=config.finetune_epochs,
        ema_decay=0.95,
        warmup_steps=5,
    )
