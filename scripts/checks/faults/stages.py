"""Stages on small slides: their commands, an undisturbed run, and hashes of what readers get."""

import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from faults.child import in_child, run

from nucleipel.data.synthetic import build_scene
from nucleipel.io.nuclei.image_output import read_instance_map
from nucleipel.io.slides.write_slide import write_annotation, write_slide
from nucleipel.io.stores.patches import open_patch_store
from nucleipel.io.stores.predictions import open_predictions
from nucleipel.model.checkpoint import read_checkpoint

SLIDES = {"train": (160, 224), "val": (128, 128), "test": (300, 420)}
TRAIN = (
    "device=cpu", "workers=0", "mpp=0.5", "window_px=32", "core_px=16", "windows_per_epoch=32",
    "epochs=6", "batch_size=4", "warmup_steps=2", "network.features=[16,24]",
    "network.residual_units=1", "validation_windows=4",
)  # fmt: skip
FINETUNE = ("device=cpu", "workers=0", "epochs=3", "batch_size=4", "patches_per_epoch=32")
TILE = ("patch_px=32", "overlap_px=8", "mpp=0.5", "shard_patches=8")
STAGES = ("train", "tile", "finetune-patches", "predict", "stitch")
OUT = {
    "train": "train",
    "tile": "patches.zarr",
    "finetune-patches": "finetune",
    "predict": "maps.zarr",
    "stitch": "instances",
}


def undisturbed(work: Path) -> tuple[Path, dict[str, float]]:
    """Make slides, run all stages undisturbed; return the folder and the seconds of each stage."""
    whole, times = work / "whole", work / "seconds.json"
    if times.is_file():
        return whole, json.loads(times.read_text())
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir()
    write_slides(whole, SLIDES)
    seconds = {}
    for stage in STAGES:
        for timed in (False, True):  # the first run may compile
            shutil.rmtree(whole / OUT[stage], ignore_errors=True)
            start = time.monotonic()
            code, output = run(command(stage, whole, whole / OUT[stage]))
            if code:
                raise SystemExit(f"{stage} failed undisturbed: {output}")
            if timed:
                seconds[stage] = time.monotonic() - start
    times.write_text(json.dumps(seconds))
    return whole, seconds


def write_slides(folder: Path, shapes: dict[str, tuple[int, int]]) -> None:
    """A generated slide for each split, its annotation, and `manifest.csv`."""
    lines = ["image,label,split,source_id,mpp"]
    for seed, (split, shape) in enumerate(shapes.items()):
        scene = build_scene(shape, seed=seed, glass=False)
        write_slide(folder / f"{split}.ome.tif", scene.image, mpp=0.5)
        write_annotation(folder / f"{split}_label.tif", scene.instance_map)
        lines.append(f"{split}.ome.tif,{split}_label.tif,{split},source-{split},0.5")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")


def command(stage: str, whole: Path, out: Path) -> list[str]:
    """The command line of a stage, with the undisturbed outputs as its input."""
    arguments = {
        "train": ["--manifest", whole / "manifest.csv", *set_each(TRAIN)],
        "tile": ["--manifest", whole / "manifest.csv", *set_each(TILE)],
        "finetune-patches": [
            "--checkpoint", whole / "train", "--patches", whole / "patches.zarr",
            *set_each(FINETUNE),
        ],
        "predict": [
            "--checkpoint", whole / "train", "--manifest", whole / "manifest.csv",
            *set_each(["device=cpu"]),
        ],
        "stitch": [
            "--predictions", whole / "maps.zarr", *set_each(["threads=1", "max_ram_gb=0.4"]),
        ],
    }  # fmt: skip
    return [stage, *map(str, arguments[stage]), "--out", str(out)]


def set_each(assignments: Iterable[str]) -> list[str]:
    """Settings as the command line takes them."""
    return [part for assignment in assignments for part in ("--set", assignment)]


def empty_place(folder: Path, stage: str) -> Path:
    """The output path of a stage below a folder of trials, emptied."""
    out = folder / OUT[stage]
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(exist_ok=True)
    return out


def digests(whole: Path, stages: Iterable[str]) -> dict[str, str]:
    """Hash of what readers get from each undisturbed stage."""
    return {stage: digest_in_child(stage, whole / OUT[stage]) for stage in stages}


def digest_in_child(stage: str, out: Path) -> str:
    """Hash of what a reader gets; the last line of the traceback, or nothing, if it fails."""

    def work() -> None:
        print("digest", digest(stage, out))  # noqa: T201

    _, output = in_child(work)  # zarr starts threads, which a later fork would lose
    return output.strip().splitlines()[-1] if output.strip() else ""


def digest(stage: str, out: Path) -> str:
    """Hash of what a reader gets from a stage's output."""
    content = hashlib.sha256()
    for part in read(stage, out):
        content.update(part)
    return content.hexdigest()


def read(stage: str, out: Path) -> Iterator[bytes]:
    """Pixels, table rows, weights: all that a reader gets."""
    if stage in ("train", "finetune-patches"):
        checkpoint = read_checkpoint(out)
        yield checkpoint.fingerprint.encode()
        for name, tensor in checkpoint.network.state_dict().items():
            yield name.encode() + tensor.numpy().tobytes()
    elif stage == "tile":
        store = open_patch_store(out)
        for row in store.rows:
            yield repr(row).encode()
            for array in store.read(row):
                yield b"" if array is None else array.tobytes()
    elif stage == "predict":
        for image in open_predictions(out).images:
            yield repr((image.id, image.resolution)).encode()
            yield image.read_map().tobytes() + image.read_thumbnail().tobytes()
    else:
        for split in SLIDES:
            yield read_instance_map(out, split).tobytes()
            yield (out / split / "nuclei.parquet").read_bytes()
