"""Pool the seeds of several ablations of the same arms, each from a base of its own.

    python scripts/reproduce/pel_pool.py --out DIR ABLATION ABLATION ...
    python scripts/reproduce/pel_pool.py --out DIR --arms control,jaccard-n2-a1 ABLATION ...

ABLATION is a finished folder of `nucleipel ablate`, at least its `images.csv`
and `results.csv`. An arm is compared within its ablation and seed only, where
it had the same base, patches and machine as its reference; the differences of
all seeds of all ablations are then averaged (paired bootstrap over sources and
seeds). Writes the files of an ablation, for the test split: `results.csv` and
`images.csv` with the ablation's name, `differences.csv` and its plot.
"""

import argparse
import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from nucleipel.io.evaluation_report import write_table
from nucleipel.stages.experiments.ablation_report import (
    BASE,
    MEASURES,
    SplitScores,
    difference_rows,
    write_difference_plot,
)

Rows = list[dict[str, str]]
SPLIT = "test"


def main(arguments: list[str] | None = None) -> None:
    """Write the tables and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ablations", nargs="+", type=Path, metavar="ABLATION")
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables and the plot")
    parser.add_argument("--arms", help="by name, with commas between; all that every one has")
    options = parser.parse_args(arguments)
    images = {folder: read(folder / "images.csv") for folder in options.ablations}
    held = [{row["arm"] for row in rows} for rows in images.values()]
    arms = set.intersection(*held)
    if options.arms is not None:
        chosen = {BASE, *options.arms.split(",")}
        if missing := sorted(chosen - arms):
            sys.exit(f"error: {', '.join(missing)}: not on test in every ablation; leave it out")
        arms = chosen
    try:
        scores = pool(list(images.values()), arms)
    except ValueError as error:
        sys.exit(f"error: {error}")
    options.out.mkdir(parents=True, exist_ok=True)
    results = [(folder, read(folder / "results.csv")) for folder in options.ablations]
    for name, tables in (("results.csv", results), ("images.csv", list(images.items()))):
        rows = [
            {"ablation": folder.name, **row}
            for folder, table in tables
            for row in table
            if row["arm"] in arms
        ]
        # an ablation of an earlier version has fewer columns
        columns = dict.fromkeys(column for row in rows for column in row)
        write_table(
            options.out / name, [{key: row.get(key, "") for key in columns} for row in rows]
        )
    write_table(options.out / "differences.csv", difference_rows(scores))
    write_difference_plot(options.out / f"differences_{SPLIT}.png", scores)


def read(file: Path) -> Rows:
    """The rows of one table that belong to the test split."""
    if not file.is_file():
        sys.exit(f"error: {file}: no such file; expected a finished ablation")
    with file.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == SPLIT]
    if not rows:
        sys.exit(f"error: {file}: no arm was scored on test; let the ablation have finalists")
    return rows


def pool(ablations: list[Rows], arms: set[str]) -> SplitScores:
    """Scores of (seeds of all ablations, images); those of the base are repeated for each seed.

    Raises
    ------
    ValueError
        If the arms of an ablation have not the same seeds, or ablations not the same images.
    """
    sources = {row["id"]: row["source_id"] for row in ablations[0]}
    runs: dict[str, list[dict[str, dict[str, str]]]] = {arm: [] for arm in sorted(arms)}
    for rows in ablations:
        if {row["id"]: row["source_id"] for row in rows} != sources:
            raise ValueError("the ablations were scored on other images; expected the same")
        by_run: dict[tuple[str, str], dict[str, dict[str, str]]] = defaultdict(dict)
        for row in rows:
            by_run[row["arm"], row["seed"]][row["id"]] = row
        seeds = {arm: sorted(seed for name, seed in by_run if name == arm) for arm in runs}
        (of_base,) = seeds.pop(BASE)
        if len(set(map(tuple, seeds.values()))) != 1:
            raise ValueError(f"arms of one ablation have other seeds than others: {seeds}")
        for seed in next(iter(seeds.values())):
            for arm, found in runs.items():
                found.append(by_run[arm, of_base if arm == BASE else seed])
    values = {
        arm: {
            measure: np.array([[float(run[image][measure]) for image in sources] for run in found])
            for measure in MEASURES
        }
        for arm, found in runs.items()
    }
    return SplitScores(SPLIT, [], list(sources), list(sources.values()), values)


if __name__ == "__main__":
    main()
