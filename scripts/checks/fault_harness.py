"""Cause faults on purpose (kills, flipped bits, full disks) and count what is lost or wrong.

    python scripts/checks/fault_harness.py --work DIR --results faults.jsonl kills --trials 200
    python scripts/checks/fault_harness.py --work DIR --results faults.jsonl calls --last 40
    python scripts/checks/fault_harness.py --work DIR --results faults.jsonl starts --trials 50
    python scripts/checks/fault_harness.py --work DIR --results faults.jsonl shards --trials 60
    python scripts/checks/fault_harness.py --work DIR --results faults.jsonl full --sizes 20
    python scripts/checks/fault_harness.py --work DIR --results faults.jsonl flips --flips 500
    python scripts/checks/fault_harness.py --work DIR --results faults.jsonl plain --trials 20
    python scripts/checks/fault_harness.py --work DIR --results faults.jsonl cost --side 4096
    python scripts/checks/fault_harness.py --results faults.jsonl summary

- `kills`: each trial starts one stage on small generated slides and kills its process
  group with SIGKILL at a random moment, every tenth trial up to five times in a row. It
  runs the same command again, and compares what can be read (pixels, table rows, weights)
  with an undisturbed run. Files that were committed before a kill must not be written again.
- `calls`: the same at each of a stage's first writes, fsyncs, renames and removals, by strace.
- `starts`: a stage started twice.
- `shards`: all shards of a stage started together.
- `full`: a stage on a disk that is too small, and then on a larger one (root only).
- `flips`: one bit flipped in one file of a finished output. `verify` must name the file, and
  a reader must refuse it or get the same.
- `plain`: the same kills for a script that only calls zarr and tifffile.
- `cost`: the share of a stage's time that hashes, fsync, journals and saved states take.
- `summary`: counts of all results in the file.

Results are appended, so that trials can be run in batches. The trials are in `faults/`, one
file a kind.
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
    """Run one kind of trials, or print a summary of all of them."""
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
    options = parser.parse_args(arguments)
    if options.kind == "summary":
        return summarize(options.results)
    options.work.mkdir(parents=True, exist_ok=True)
    failed = 0
    for row in _trials(options):
        with options.results.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"kind": options.kind, **row}) + "\n")
        failed += not row["right"] and options.kind != "plain"
    return min(failed, 1)


def _trials(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    draw = random.Random(options.seed)  # noqa: S311
    if options.kind == "plain":
        return plain_trials(options.work / "plain", options.trials, draw)
    if options.kind == "cost":
        return cost_trials(options.work / "cost", options.side, options.turns)
    whole, seconds = undisturbed(options.work)
    if options.kind == "kills":
        return kill_trials(
            options.work, whole, seconds, options.trials, draw, stages=options.stage or STAGES
        )
    if options.kind == "starts":
        return start_trials(options.work, whole, seconds, options.trials, draw)
    if options.kind == "shards":
        return shard_trials(options.work, whole, options.trials)
    if options.kind == "calls":
        return call_trials(
            options.work, whole, options.first, options.last, stages=options.stage or STAGES
        )
    if options.kind == "full":
        return full_trials(options.work, whole, options.sizes)
    return flip_trials(options.work, whole, options.flips, draw)


def summarize(results: Path) -> int:
    """Print how many trials of each kind and stage ended right."""
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    say = print
    for row in rows:
        if row["kind"] == "cost":
            waited = row.get("waited", row["safety"])  # older rows hold the sum only
            line = f"{row['safety']} s in all threads, {waited} of {row['seconds']} s waited for,"
            line += f" {waited / row['seconds']:.1%}"
            if "with" in row:
                line += f"; medians of turns: {row['with']} s, {row['without']} s without"
            say(f"cost   {row['stage']:17}", line)
    for kind in ("kills", "calls", "starts", "shards", "full", "flips", "plain"):
        trials = [row for row in rows if row["kind"] == kind]
        for stage in dict.fromkeys(row["stage"] for row in trials):
            here = [row for row in trials if row["stage"] == stage]
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
            say(f"{kind:6} {stage:17}", ", ".join(f"{key} {value}" for key, value in facts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
