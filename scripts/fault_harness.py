"""Faults on purpose: commands killed at random, bits flipped; what is lost or silently wrong.

    python scripts/fault_harness.py --work DIR --results faults.jsonl kills --trials 200
    python scripts/fault_harness.py --work DIR --results faults.jsonl flips --flips 500
    python scripts/fault_harness.py --work DIR --results faults.jsonl plain --trials 20
    python scripts/fault_harness.py --work DIR --results faults.jsonl cost --side 2048
    python scripts/fault_harness.py --results faults.jsonl summary

`kills`: each trial starts one stage on small generated slides, kills its process
group with SIGKILL at a random moment, every tenth one up to five times in a
row, gives the same command again, and compares what can be read (pixels, table
rows, weights) with an undisturbed run; files that were committed before a kill
must not be written again. `flips`: one bit of one file of a finished output;
`verify` must name the file, and who reads it must refuse it or get the same.
`plain`: a script that only calls zarr and tifffile, under the same kills. `cost`:
which share of a stage's time goes into hashes, fsync, journals and saved states.

Results are appended, so that trials can be run in batches. Stages run in forked
children, which saves the imports: the start of Python is not under test.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np
import tifffile
import zarr

import nucleipel.stages.finetune_patches
import nucleipel.stages.stitch
import nucleipel.stages.verify
from nucleipel.cli.main import cli
from nucleipel.data.synthetic import build_scene
from nucleipel.errors import NucleipelError
from nucleipel.io.instances import read_instance_map
from nucleipel.io.output import read_journals
from nucleipel.io.patch_store import open_patch_store
from nucleipel.io.predictions import open_predictions
from nucleipel.io.verify import inspect_output
from nucleipel.io.write_slide import write_annotation, write_slide
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


def main(arguments: list[str] | None = None) -> int:
    """Run one kind of trials, or tell what all of them gave."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder for slides and runs")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines, appended to")
    parser.add_argument("--seed", type=int, help="default: from the clock")
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind in ("kills", "plain"):
        kinds.add_parser(kind).add_argument("--trials", type=int, default=20)
    kinds.add_parser("flips").add_argument("--flips", type=int, default=25)
    kinds.add_parser("cost").add_argument("--side", type=int, default=2048)
    kinds.add_parser("summary")
    given = parser.parse_args(arguments)
    if given.kind == "summary":
        return summarize(given.results)
    draw = random.Random(given.seed)  # noqa: S311
    given.work.mkdir(parents=True, exist_ok=True)
    if given.kind == "plain":
        rows = plain_trials(given.work / "plain", given.trials, draw)
    elif given.kind == "cost":
        rows = cost_trials(given.work / "cost", given.side)
    else:
        whole, seconds = undisturbed(given.work)
        if given.kind == "kills":
            rows = kill_trials(given.work, whole, seconds, given.trials, draw)
        else:
            rows = flip_trials(given.work, whole, given.flips, draw)
    failed = 0
    for row in rows:
        with given.results.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"kind": given.kind, **row}) + "\n")
        failed += not row["right"] and given.kind != "plain"
    return min(failed, 1)


def undisturbed(work: Path) -> tuple[Path, dict[str, float]]:
    """Slides, a run of all stages that nobody disturbs, and how long each took."""
    whole, times = work / "whole", work / "seconds.json"
    if times.is_file():
        return whole, json.loads(times.read_text())
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir()
    lines = ["image,label,split,source_id,mpp"]
    for seed, (split, shape) in enumerate(SLIDES.items()):
        scene = build_scene(shape, seed=seed, glass=False)
        write_slide(whole / f"{split}.ome.tif", scene.image, mpp=0.5)
        write_annotation(whole / f"{split}_label.tif", scene.instance_map)
        lines.append(f"{split}.ome.tif,{split}_label.tif,{split},source-{split},0.5")
    (whole / "manifest.csv").write_text("\n".join(lines) + "\n")
    seconds = {}
    for stage in STAGES:
        for timed in (False, True):  # the first go may compile
            shutil.rmtree(whole / OUT[stage], ignore_errors=True)
            start = time.monotonic()
            code, told = run(command(stage, whole, whole / OUT[stage]))
            if code:
                raise SystemExit(f"{stage} failed undisturbed: {told}")
            if timed:
                seconds[stage] = time.monotonic() - start
    times.write_text(json.dumps(seconds))
    return whole, seconds


def command(stage: str, whole: Path, out: Path) -> list[str]:
    """The command line of a stage on what the undisturbed stages before it made."""
    arguments = {
        "train": ["--manifest", whole / "manifest.csv", *_set(TRAIN)],
        "tile": ["--manifest", whole / "manifest.csv", *_set(TILE)],
        "finetune-patches": [
            "--checkpoint", whole / "train", "--patches", whole / "patches.zarr", *_set(FINETUNE),
        ],
        "predict": [
            "--checkpoint", whole / "train", "--manifest", whole / "manifest.csv",
            *_set(["device=cpu"]),
        ],
        "stitch": ["--predictions", whole / "maps.zarr", *_set(["threads=1", "max_ram_gb=0.4"])],
    }  # fmt: skip
    return [stage, *map(str, arguments[stage]), "--out", str(out)]


def _set(assignments: Any) -> list[str]:
    return [part for assignment in assignments for part in ("--set", assignment)]


def run(arguments: list[str], kill_after: float | None = None) -> tuple[int, str]:
    """Run a command in a forked child; its exit code (-9 if it was killed) and what it told."""

    def work() -> None:
        cli(arguments)

    return _in_child(work, kill_after=kill_after)


def _in_child(work: Callable[[], None], *, kill_after: float | None = None) -> tuple[int, str]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setsid()
            os.dup2(write, 1)
            os.dup2(write, 2)
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
            work()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(write)
    if kill_after is not None:
        time.sleep(kill_after)
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:  # it has not made its group yet, or has ended
            os.kill(child, signal.SIGKILL)
    with os.fdopen(read, errors="replace") as stream:
        told = stream.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), told


def kill_trials(
    work: Path, whole: Path, seconds: dict[str, float], trials: int, draw: random.Random
) -> Iterator[dict[str, Any]]:
    """Kill a stage at random moments, let it continue, and compare."""
    expected = {stage: _digest_in_child(stage, whole / OUT[stage]) for stage in STAGES}
    for trial in range(trials):
        stage = STAGES[trial % len(STAGES)]
        out = work / "trial" / OUT[stage]
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(exist_ok=True)
        kills = draw.randint(2, 5) if draw.random() < 0.1 else 1
        moments, landed, committed, again = [], 0, 0, 0
        for _ in range(kills):
            before = _committed(out)
            moments.append(round(draw.uniform(0, seconds[stage]), 3))
            code, told = run(command(stage, whole, out), kill_after=moments[-1])
            landed += code == -signal.SIGKILL
            again += _changed(out, before, told)
        before = _committed(out)
        committed = len(before)
        code, told = run(command(stage, whole, out))
        again += _changed(out, before, told)
        right = code == 0 and _digest_in_child(stage, out) == expected[stage]
        row = {
            "stage": stage,
            "seconds": moments,
            "kills": landed,
            "committed": committed,
            "done_again": again,
            "right": right and not again,
        }
        yield row if row["right"] else {**row, "told": told[-500:]}


def _committed(out: Path) -> dict[str, tuple[int, int]]:
    """What a stage must not make again: journaled files, images, a training's steps."""
    names = list(read_journals(out)) if out.is_dir() else []
    names += [str(path.relative_to(out)) for path in out.glob("[!.]*/instances.ome.tif")]
    found = {name: _stamp(out / name) for name in names}
    state = out / "state.json"
    if state.is_file():
        saved = json.loads(state.read_text())
        found["step"] = (saved["epoch"], saved["batches"])
    return found


def _changed(out: Path, before: dict[str, tuple[int, int]], told: str) -> int:
    """How much of what was committed the next go made again, by its files and by what it told."""
    changed = 0
    for name, was in before.items():
        if name == "step":
            found = re.search(r"continuing after epoch (\d+) of \d+ and (\d+) batches", told)
            changed += found is not None and (int(found[1]), int(found[2])) != was
        elif not name.endswith(".json"):  # a few bytes, written whenever an image goes on
            changed += _stamp(out / name) != was
    return changed


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


def _digest_in_child(stage: str, out: Path) -> str:
    def work() -> None:
        print("digest", digest(stage, out))  # noqa: T201

    _, told = _in_child(work)  # zarr starts threads, which a later fork would lose
    return told.strip().splitlines()[-1] if told.strip() else ""


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
                yield array.tobytes()
    elif stage == "predict":
        for image in open_predictions(out).images:
            yield repr((image.id, image.resolution)).encode()
            yield image.read_map().tobytes() + image.read_thumbnail().tobytes()
    else:
        for split in SLIDES:
            yield read_instance_map(out, split).tobytes()
            yield (out / split / "nuclei.parquet").read_bytes()


def flip_trials(
    work: Path, whole: Path, flips: int, draw: random.Random
) -> Iterator[dict[str, Any]]:
    """Flip one bit at a time in copies of finished outputs."""
    for stage in STAGES:
        out = work / "flipped" / OUT[stage]
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(whole / OUT[stage], out)
        expected = digest(stage, out)
        listed = [line[66:] for line in (out / "SHA256SUMS").read_text().splitlines()]
        names = [*listed, "SHA256SUMS", "nucleipel.json"]
        for _ in range(flips):
            path = out / draw.choice(names)
            content = path.read_bytes()
            flipped = bytearray(content)
            place, bit = draw.randrange(len(content)), draw.randrange(8)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            name = path.relative_to(out).as_posix()
            named = name in inspect_output(out).broken
            try:
                reader = "same" if digest(stage, out) == expected else "another"
            except NucleipelError:
                reader = "refused"
            path.write_bytes(content)
            # the table is text that any program may read: only verify guards it
            guarded = reader != "another" or name.endswith("nuclei.parquet")
            yield {
                "stage": stage,
                "file": name,
                "bit": [place, bit],
                "verify": named,
                "reader": reader,
                "right": guarded and (named or reader == "same"),
            }


def plain_trials(work: Path, trials: int, draw: random.Random) -> Iterator[dict[str, Any]]:
    """The same kills for a script that writes a map with zarr, or a mask with tifffile."""
    pixels = np.random.default_rng(0).integers(0, 255, (4, 2048, 2048), np.uint8)

    def write_zarr() -> None:
        array = zarr.create_array(
            work / "map.zarr", shape=pixels.shape, chunks=(4, 128, 128), dtype=np.uint8
        )
        for y in range(0, 2048, 128):
            array[:, y : y + 128] = pixels[:, y : y + 128]

    def write_tiff() -> None:
        tifffile.imwrite(work / "mask.tif", pixels[0], tile=(128, 128), compression="zlib")

    def check_zarr() -> None:
        print("same" if np.array_equal(zarr.open_array(work / "map.zarr")[:], pixels) else "wrong")  # noqa: T201

    def check_tiff() -> None:
        same = np.array_equal(tifffile.imread(work / "mask.tif"), pixels[0])
        print("same" if same else "wrong")  # noqa: T201

    for name, write, check in (
        ("zarr", write_zarr, check_zarr),
        ("tifffile", write_tiff, check_tiff),
    ):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        start = time.monotonic()
        _in_child(write)
        took = time.monotonic() - start
        for _ in range(trials):
            shutil.rmtree(work)
            work.mkdir()
            _in_child(write, kill_after=draw.uniform(0, took))
            code, told = _in_child(check)
            found = told.split()[-1] if code == 0 else "refused"
            yield {"stage": name, "reader": found, "right": found == "same"}


def cost_trials(work: Path, side: int) -> Iterator[dict[str, Any]]:
    """Run the stages on larger slides with the clock stopped around what makes them safe."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    lines = ["image,label,split,source_id,mpp"]
    for seed, (split, length) in enumerate({"train": side, "val": 512, "test": side}.items()):
        scene = build_scene((length, length), seed=seed, glass=False)
        write_slide(work / f"{split}.ome.tif", scene.image, mpp=0.5)
        write_annotation(work / f"{split}_label.tif", scene.instance_map)
        lines.append(f"{split}.ome.tif,{split}_label.tif,{split},source-{split},0.5")
    (work / "manifest.csv").write_text("\n".join(lines) + "\n")
    manifest = ["--manifest", work / "manifest.csv"]
    small = _set(["device=cpu", "workers=0", "mpp=0.5", "epochs=2", "windows_per_epoch=64"])
    commands = {
        "train": [*manifest, *small],
        "tile": [*manifest, *_set(["mpp=0.5"])],
        "predict": [*manifest, "--checkpoint", work / "train", *_set(["device=cpu"])],
        "stitch": ["--predictions", work / "maps.zarr"],
    }
    for stage, arguments in commands.items():
        words = [stage, *map(str, arguments), "--out", str(work / OUT[stage])]
        code, told = _in_child(_timed(words))
        if code:
            raise SystemExit(f"{stage} failed: {told}")
        seconds, safe = map(float, told.split("cost")[-1].split()[:2])
        facts = {"seconds": round(seconds, 2), "safety": round(safe, 3)}
        yield {"stage": stage, **facts, "share": round(safe / seconds, 4), "right": True}


def _timed(words: list[str]) -> Callable[[], None]:
    spent = [0.0]

    def around(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.monotonic()
            try:
                return real(*arguments, **named)
            finally:
                spent[0] += time.monotonic() - start

        setattr(owner, name, timed)

    def work() -> None:
        around(nucleipel.io.sums.Written, "add")
        around(nucleipel.io.output.Output, "commit")
        around(nucleipel.training.state.TrainingState, "save")
        around(nucleipel.io.instances, "sync_tree")
        start = time.monotonic()
        try:
            cli(words)
        except SystemExit as end:
            if end.code:
                raise
        print("cost", time.monotonic() - start, spent[0])  # noqa: T201

    return work


def summarize(results: Path) -> int:
    """Tell what all trials so far gave, as Markdown tables."""
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    tell = print
    for row in rows:
        if row["kind"] == "cost":
            share = f"{row['safety']} of {row['seconds']} s, {row['share']:.2%}"
            tell(f"cost   {row['stage']:17}", share)
    for kind in ("kills", "flips", "plain"):
        those = [row for row in rows if row["kind"] == kind]
        for stage in dict.fromkeys(row["stage"] for row in those):
            here = [row for row in those if row["stage"] == stage]
            facts = {"trials": len(here), "right": sum(row["right"] for row in here)}
            if kind == "kills":
                facts["kills that landed"] = sum(row["kills"] for row in here)
                facts["had committed work"] = sum(row["committed"] > 0 for row in here)
                facts["committed"] = sum(row["committed"] for row in here)
                facts["done again"] = sum(row["done_again"] for row in here)
            else:
                facts |= Counter(f"reader: {row['reader']}" for row in here)
            if kind == "flips":
                facts["named by verify"] = sum(row["verify"] for row in here)
            tell(
                f"{kind:6} {stage:17}", ", ".join(f"{key} {value}" for key, value in facts.items())
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
