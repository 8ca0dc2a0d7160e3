"""Measure the share of a stage's time that hashes, fsync, journals and saved states take.

A clock runs around them: `safety` is the sum over all threads. The stage loses at
most `waited`: what its own thread does and, in `tile` and `predict`, whose shards
are written to the disk by another thread, what it waits for. Where even `waited` is
above `BOUND`, the stage also runs with and without fsync and hashes of what it
writes, in turns.
"""

import hashlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from faults.child import in_child
from faults.stages import OUT, set_each, write_slides

import nucleipel.io.records.output
import nucleipel.io.stores.patches
import nucleipel.io.stores.predictions
import nucleipel.stages.pipeline.finetune_patches
import nucleipel.stages.pipeline.stitch
from nucleipel.cli.main import cli
from nucleipel.core.threads import in_background
from nucleipel.io.records.checksums import JOURNAL, Written

BOUND = 0.03


def cost_trials(work: Path, side: int, turns: int) -> Iterator[dict[str, Any]]:
    """Run the stages on larger slides, with the packaged weights."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    shapes = {"train": side, "val": 512, "test": side}
    write_slides(work, {split: (length, length) for split, length in shapes.items()})
    manifest = ["--manifest", work / "manifest.csv"]
    small = set_each(["device=cpu", "workers=0", "mpp=0.5", "epochs=2", "windows_per_epoch=64"])
    commands = {
        "train": [*manifest, *small],
        "tile": [*manifest, *set_each(["mpp=0.5"])],
        "predict": [*manifest, "--checkpoint", "default", *set_each(["device=cpu"])],
        "stitch": ["--predictions", work / "maps.zarr"],
    }
    for stage, arguments in commands.items():
        out = work / OUT[stage]
        words = [stage, *map(str, arguments), "--out", str(out)]
        seconds, safe, waited = _measure(_clocked, words, out)
        row = {"stage": stage, "seconds": seconds, "safety": safe, "waited": waited, "right": True}
        if waited > BOUND * seconds and turns:
            times: dict[str, list[float]] = {"without": [], "with": []}
            for _ in range(turns):
                for name, prepare in (("without", _bare), ("with", _safe)):
                    times[name].append(_measure(prepare, words, out)[0])
            row |= {name: median(those) for name, those in times.items()}
        yield row


def _measure(
    prepare: Callable[[list[float]], None], words: list[str], out: Path
) -> tuple[float, float, float]:
    """Seconds of a command in a prepared child, and the `safety` and `waited` that it measured."""

    def work() -> None:
        spent = [0.0, 0.0]
        prepare(spent)
        start = time.monotonic()
        try:
            cli(words)
        except SystemExit as end:
            if end.code:
                raise
        print("cost", time.monotonic() - start, *spent)  # noqa: T201

    shutil.rmtree(out, ignore_errors=True)
    os.sync()
    code, output = in_child(work)
    if code:
        raise SystemExit(f"{words[0]} failed: {output}")
    seconds, safe, waited = map(float, output.split("cost")[-1].split()[:3])
    return round(seconds, 2), round(safe, 3), round(waited, 3)


def _safe(_: list[float]) -> None:
    """Leave everything as it is."""


def _bare(_: list[float]) -> None:
    """Switch fsync off, and write zeros in place of hashes."""
    zeros = "0" * 64

    def add(self: Written, names: Iterable[str]) -> None:
        with (self.folder / JOURNAL).open("a", encoding="utf-8") as stream:
            stream.writelines(f"{zeros}  {name}\n" for name in names)

    vars(os)["fsync"] = lambda _: None
    vars(nucleipel.io.records.output)["digest_of"] = lambda _: zeros
    Written.add = add  # type: ignore[method-assign]


def _clocked(spent: list[float]) -> None:
    """Time all that makes a stage safe: over all threads, and what the stage waits for."""
    within = threading.local()

    @contextmanager
    def clock(*counts: int) -> Iterator[None]:
        if getattr(within, "one", False):  # the caller counts this time
            yield
            return
        within.one = True
        start = time.monotonic()
        try:
            yield
        finally:
            for count in counts:
                spent[count] += time.monotonic() - start
            within.one = False

    def around(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            own = threading.current_thread() is threading.main_thread()
            with clock(0, 1) if own else clock(0):
                return real(*arguments, **named)

        setattr(owner, name, timed)

    around(os, "fsync")
    around(hashlib, "file_digest")
    around(hashlib, "sha256")
    around(Written, "add")
    around(nucleipel.io.records.output.Output, "commit")
    around(nucleipel.training.training_state.TrainingState, "save")

    @contextmanager
    def waiting_behind(function: Callable[[Any], Any]) -> Iterator[Callable[[Any], None]]:
        real = in_background(function)
        give = real.__enter__()

        def timed(item: Any) -> None:
            with clock(1):
                give(item)

        try:
            yield timed
        finally:
            with clock(1):
                real.__exit__(*sys.exc_info())

    for owner in (nucleipel.io.stores.patches, nucleipel.io.stores.predictions):
        vars(owner)["behind"] = waiting_behind
