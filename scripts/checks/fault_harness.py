"""Faults on purpose: commands killed at random, bits flipped; what is lost or silently wrong.

    python scripts/checks/fault_harness.py --work DIR --results faults.jsonl kills --trials 200
    python scripts/checks/fault_harness.py --work DIR --results faults.jsonl calls --last 40
    python scripts/checks/fault_harness.py --work DIR --results faults.jsonl starts --trials 50
    python scripts/checks/fault_harness.py --work DIR --results faults.jsonl shards --trials 60
    python scripts/checks/fault_harness.py --work DIR --results faults.jsonl full --sizes 20
    python scripts/checks/fault_harness.py --work DIR --results faults.jsonl flips --flips 500
    python scripts/checks/fault_harness.py --work DIR --results faults.jsonl plain --trials 20
    python scripts/checks/fault_harness.py --work DIR --results faults.jsonl cost --side 4096
    python scripts/checks/fault_harness.py --results faults.jsonl summary

`kills`: each trial starts one stage on small generated slides, kills its process
group with SIGKILL at a random moment, every tenth one up to five times in a
row, gives the same command again, and compares what can be read (pixels, table
rows, weights) with an undisturbed run; files that were committed before a kill
must not be written again. `calls`: the same at each of a stage's first writes,
fsyncs, renames and removals, by strace. `starts`: a stage started twice. `shards`:
all shards of a stage started together. `full`: a stage on a disk that is too
small, and then grows (root only). `flips`: one bit
of one file of a finished output; `verify` must name the file, and who reads it
must refuse it or get the same. `plain`: a script that only calls zarr and
tifffile, under the same kills. `cost`: which share of a stage's time goes into
hashes, fsync, journals and saved states.

Results are appended, so that trials can be run in batches.
"""

import argparse
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from faults.calls import call_trials
from faults.cost import cost_trials
from faults.flips import flip_trials
from faults.full import full_trials
from faults.kills import kill_trials
from faults.plain import plain_trials
from faults.stages import STAGES, undisturbed
from faults.starts import shard_trials, start_trials


def main(arguments: list[str] | None = None) -> int:
    """Run one kind of trials, or tell what all of them gave."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder for slides and runs")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines, appended to")
    parser.add_argument("--seed", type=int, help="default: from the clock")
    kinds = parser.add_subparsers(dest="kind", required=True)
    repeated = {kind: kinds.add_parser(kind) for kind in ("kills", "plain", "starts", "shards")}
    for one in repeated.values():
        one.add_argument("--trials", type=int, default=20)
    kinds.add_parser("flips").add_argument("--flips", type=int, default=25)
    calls = kinds.add_parser("calls")
    calls.add_argument("--first", type=int, default=1)
    calls.add_argument("--last", type=int, default=20)
    for one in (repeated["kills"], calls):
        one.add_argument("--stage", choices=STAGES, action="append", help="default: all of them")
    kinds.add_parser("full").add_argument("--sizes", type=int, default=20)
    cost = kinds.add_parser("cost")
    cost.add_argument("--side", type=int, default=4096)
    cost.add_argument("--turns", type=int, default=5)
    kinds.add_parser("summary")
    given = parser.parse_args(arguments)
    if given.kind == "summary":
        return summarize(given.results)
    given.work.mkdir(parents=True, exist_ok=True)
    failed = 0
    for row in _trials(given):
        with given.results.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"kind": given.kind, **row}) + "\n")
        failed += not row["right"] and given.kind != "plain"
    return min(failed, 1)


def _trials(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    draw = random.Random(given.seed)  # noqa: S311
    if given.kind == "plain":
        return plain_trials(given.work / "plain", given.trials, draw)
    if given.kind == "cost":
        return cost_trials(given.work / "cost", given.side, given.turns)
    whole, seconds = undisturbed(given.work)
    if given.kind == "kills":
        return kill_trials(
            given.work, whole, seconds, given.trials, draw, stages=given.stage or STAGES
        )
    if given.kind == "starts":
        return start_trials(given.work, whole, seconds, given.trials, draw)
    if given.kind == "shards":
        return shard_trials(given.work, whole, given.trials)
    if given.kind == "calls":
        return call_trials(given.work, whole, given.first, given.last, stages=given.stage or STAGES)
    if given.kind == "full":
        return full_trials(given.work, whole, given.sizes)
    return flip_trials(given.work, whole, given.flips, draw)


def summarize(results: Path) -> int:
    """Tell what all trials so far gave, as Markdown tables."""
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    tell = print
    for row in rows:
        if row["kind"] == "cost":
            waited = row.get("waited", row["safety"])  # older rows hold the sum only
            told = f"{row['safety']} s in all threads, {waited} of {row['seconds']} s waited for,"
            told += f" {waited / row['seconds']:.1%}"
            if "with" in row:
                told += f"; medians of turns: {row['with']} s, {row['without']} s without"
            tell(f"cost   {row['stage']:17}", told)
    for kind in ("kills", "calls", "starts", "shards", "full", "flips", "plain"):
        those = [row for row in rows if row["kind"] == kind]
        for stage in dict.fromkeys(row["stage"] for row in those):
            here = [row for row in those if row["stage"] == stage]
            facts = {"trials": len(here), "right": sum(row["right"] for row in here)}
            if kind == "kills":
                facts["kills that landed"] = sum(row["kills"] for row in here)
                facts["had committed work"] = sum(row["committed"] > 0 for row in here)
                facts["committed"] = sum(row["committed"] for row in here)
                facts["done again"] = sum(row["done_again"] for row in here)
            elif kind == "calls":
                facts["kills that landed"] = sum(row["kills"] for row in here)
            elif kind == "starts":
                facts["one of two refused"] = sum(row["refused"] == 1 for row in here)
            elif kind == "full":
                facts["disk was full"] = sum(row["full"] for row in here)
            elif kind != "shards":
                facts |= Counter(f"reader: {row['reader']}" for row in here)
            if kind == "flips":
                facts["named by verify"] = sum(row["verify"] for row in here)
            tell(
                f"{kind:6} {stage:17}", ", ".join(f"{key} {value}" for key, value in facts.items())
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
