"""Kill a stage at random moments and run it again: the same result, and nothing done twice."""

import json
import random
import re
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from faults.child import run
from faults.stages import STAGES, command, digest_in_child, digests, empty_place

from nucleipel.io.records.output import read_journals


def kill_trials(
    work: Path,
    whole: Path,
    seconds: dict[str, float],
    trials: int,
    draw: random.Random,
    *,
    stages: Sequence[str] = STAGES,
) -> Iterator[dict[str, Any]]:
    """Kill stages, in turns, at random moments, let them continue, and compare."""
    expected = digests(whole, stages)
    for trial in range(trials):
        stage = stages[trial % len(stages)]
        out = empty_place(work / "trial", stage)
        kills = draw.randint(2, 5) if draw.random() < 0.1 else 1
        moments, landed, committed, again = [], 0, 0, 0
        for _ in range(kills):
            before = _committed(out)
            moments.append(round(draw.uniform(0, seconds[stage]), 3))
            code, output = run(command(stage, whole, out), kill_after=moments[-1])
            landed += code == -signal.SIGKILL
            again += _changed(out, before, output)
        before = _committed(out)
        committed = len(before)
        code, output = run(command(stage, whole, out))
        again += _changed(out, before, output)
        right = code == 0 and digest_in_child(stage, out) == expected[stage]
        row = {
            "stage": stage,
            "seconds": moments,
            "kills": landed,
            "committed": committed,
            "done_again": again,
            "right": right and not again,
        }
        yield row if row["right"] else {**row, "output": output[-500:]}


def _committed(out: Path) -> dict[str, tuple[int, int]]:
    """List what a stage must not make again: journaled files, images, a training's steps."""
    names = list(read_journals(out)) if out.is_dir() else []
    names += [str(path.relative_to(out)) for path in out.glob("[!.]*/instances.ome.tif")]
    found = {name: _stamp(out / name) for name in names}
    state = out / "state.json"
    if state.is_file():
        saved = json.loads(state.read_text())
        found["step"] = (saved["epoch"], saved["batches"])
    return found


def _changed(out: Path, before: dict[str, tuple[int, int]], output: str) -> int:
    """Count the committed work that the next run did again, by its files and its output."""
    changed = 0
    for name, was in before.items():
        if name == "step":
            found = re.search(r"continuing after epoch (\d+) of \d+ and (\d+) batches", output)
            changed += found is not None and (int(found[1]), int(found[2])) != was
        elif not name.endswith(".json"):  # a few bytes, written again whenever an image continues
            changed += _stamp(out / name) != was
    return changed


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns
