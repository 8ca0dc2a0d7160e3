"""Which share of a stage's time goes into hashes, fsync, journals and saved states.

The clock is stopped around them: at most that much is lost, since some of it
happens in threads beside other work, and the disk would get the bytes anyway,
later. Where this bound is above `BOUND`, the stage is also run with and without
fsync and hashes of what it writes, in turns.
"""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from faults.child import in_child
from faults.stages import OUT, set_each, write_slides

import nucleipel.io.output
import nucleipel.stages.finetune_patches
import nucleipel.stages.stitch
from nucleipel.cli.main import cli
from nucleipel.io.sums import JOURNAL, Written

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
        seconds, safe = _measure(_clocked, words, out)
        row = {"stage": stage, "seconds": seconds, "safety": safe, "right": True}
        if safe > BOUND * seconds and turns:
            times: dict[str, list[float]] = {"without": [], "with": []}
            for _ in range(turns):
                for name, prepare in (("without", _bare), ("with", _safe)):
                    times[name].append(_measure(prepare, words, out)[0])
            row |= {name: median(those) for name, those in times.items()}
        yield row


def _measure(
    prepare: Callable[[list[float]], None], words: list[str], out: Path
) -> tuple[float, float]:
    """Seconds of a command in a child that is prepared, and those that it put into a list."""

    def work() -> None:
        spent = [0.0]
        prepare(spent)
        start = time.monotonic()
        try:
            cli(words)
        except SystemExit as end:
            if end.code:
                raise
        print("cost", time.monotonic() - start, spent[0])  # noqa: T201

    shutil.rmtree(out, ignore_errors=True)
    os.sync()
    code, told = in_child(work)
    if code:
        raise SystemExit(f"{words[0]} failed: {told}")
    seconds, spent = map(float, told.split("cost")[-1].split()[:2])
    return round(seconds, 2), round(spent, 3)


def _safe(_: list[float]) -> None:
    """Leave everything as it is."""


def _bare(_: list[float]) -> None:
    """Without fsync, and with zeros for the hashes of what is written."""
    zeros = "0" * 64

    def add(self: Written, names: Iterable[str]) -> None:
        with (self.folder / JOURNAL).open("a", encoding="utf-8") as stream:
            stream.writelines(f"{zeros}  {name}\n" for name in names)

    vars(os)["fsync"] = lambda _: None
    vars(nucleipel.io.output)["digest_of"] = lambda _: zeros
    Written.add = add  # type: ignore[method-assign]


def _clocked(spent: list[float]) -> None:
    """Stop the time of all that makes a stage safe."""
    within = threading.local()

    def around(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            if getattr(within, "one", False):  # its time is counted by what called it
                return real(*arguments, **named)
            within.one = True
            start = time.monotonic()
            try:
                return real(*arguments, **named)
            finally:
                spent[0] += time.monotonic() - start
                within.one = False

        setattr(owner, name, timed)

    around(os, "fsync")
    around(hashlib, "file_digest")
    around(hashlib, "sha256")
    around(Written, "add")
    around(nucleipel.io.output.Output, "commit")
    around(nucleipel.training.state.TrainingState, "save")
