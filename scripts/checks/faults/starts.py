"""Start commands at the same moment: the same one twice, or all shards of one output."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faults.child import Child, run
from faults.stages import STAGES, command, digest_in_child, digests, empty_place

from nucleipel.cli.main import cli

SHARDED = ("tile", "predict", "stitch")


def start_trials(
    work: Path, whole: Path, seconds: dict[str, float], trials: int, draw: random.Random
) -> Iterator[dict[str, Any]]:
    """Start a stage twice; one does the work, the other names who does, or finds it done."""
    expected = digests(whole, STAGES)
    for trial in range(trials):
        stage = STAGES[trial % len(STAGES)]
        out = empty_place(work / "twice", stage)
        arguments = ["-q", *command(stage, whole, out)]
        # half of them at once, the others while the first one works
        apart = draw.choice([0.0, draw.uniform(0, seconds[stage])])
        one = Child(lambda words=arguments: cli(words))
        time.sleep(apart)
        two = Child(lambda words=arguments: cli(words))
        ends = [one.wait(), two.wait()]
        refused = [output for code, output in ends if code == 1]
        named = all("is at work on" in output and output.count("\n") == 1 for output in refused)
        right = len(refused) < 2 and named and {code for code, _ in ends} <= {0, 1}
        right = right and digest_in_child(stage, out) == expected[stage]
        row = {"stage": stage, "apart": round(apart, 3), "refused": len(refused), "right": right}
        yield row if right else {**row, "output": "".join(output[-500:] for _, output in ends)}


def shard_trials(
    work: Path, whole: Path, trials: int, *, shards: int = 3
) -> Iterator[dict[str, Any]]:
    """Start all shards of a stage together, as a job array does; then close the output."""
    expected = digests(whole, SHARDED)
    for trial in range(trials):
        stage = SHARDED[trial % len(SHARDED)]
        out = empty_place(work / "shards", stage)
        arguments = ["-q", *command(stage, whole, out), "--shard"]
        parts = [[*arguments, f"{number}/{shards}"] for number in range(1, shards + 1)]
        waiting = [Child(lambda words=words: cli(words), held=True) for words in parts]
        for child in waiting:
            child.wait_until_held()
        for child in waiting:
            child.go_on()
        ends = [*(child.wait() for child in waiting), run([*arguments, "close"])]
        right = all(code == 0 for code, _ in ends)
        right = right and digest_in_child(stage, out) == expected[stage]
        row = {"stage": stage, "shards": shards, "right": right}
        yield row if right else {**row, "output": "".join(output[-500:] for _, output in ends)}
