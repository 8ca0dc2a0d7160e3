"""The same command started twice at about the same time: one result, and no harm to it."""

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faults.child import Child
from faults.stages import OUT, STAGES, command, digest_in_child

from nucleipel.cli.main import cli


def start_trials(
    work: Path, whole: Path, seconds: dict[str, float], trials: int, draw: random.Random
) -> Iterator[dict[str, Any]]:
    """Start a stage twice; one does it, the other is told who does, or finds it done."""
    expected = {stage: digest_in_child(stage, whole / OUT[stage]) for stage in STAGES}
    for trial in range(trials):
        stage = STAGES[trial % len(STAGES)]
        out = work / "twice" / OUT[stage]
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(exist_ok=True)
        arguments = ["-q", *command(stage, whole, out)]
        # half of them at once, the others while the first is at work
        apart = draw.choice([0.0, draw.uniform(0, seconds[stage])])
        one = Child(lambda words=arguments: cli(words))
        time.sleep(apart)
        two = Child(lambda words=arguments: cli(words))
        ends = [one.wait(), two.wait()]
        refused = [told for code, told in ends if code == 1]
        named = all("is at work on" in told and told.count("\n") == 1 for told in refused)
        right = len(refused) < 2 and named and {code for code, _ in ends} <= {0, 1}
        right = right and digest_in_child(stage, out) == expected[stage]
        row = {"stage": stage, "apart": round(apart, 3), "refused": len(refused), "right": right}
        yield row if right else {**row, "told": "".join(told[-500:] for _, told in ends)}
