"""Put several ablations into one table: the gain from patches, and the gain from the loss.

    python scripts/reproduce/pel_table.py --out answer NAME=DIR ...

DIR is a finished folder of `nucleipel ablate`. Writes `answer.csv`, a row for
each arm and measure, and `answer.md` with the same figures as a table. For an
arm of one ablation, in points with 95 % intervals:

- patches: control - none, more training on patches with the base's own loss;
- loss: arm - control, the same patches and steps with the arm's loss;
- both: arm - none.
"""

import argparse
import csv
import sys
from pathlib import Path

MEASURES = {"dice": "Dice", "pq": "PQ", "aji": "AJI", "ap@0.50": "AP@.5", "ap@0.75": "AP@.75"}
SHOWN = ("dice", "pq")
PARTS = {"patches": ("control", "none"), "loss": (None, "control"), "both": (None, "none")}
Differences = dict[tuple[str, str, str], dict[str, str]]


def main(arguments: list[str] | None = None) -> None:
    """Write the two files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ablations", nargs="+", metavar="NAME=DIR")
    parser.add_argument("--out", type=Path, required=True, help="path of both files, no suffix")
    options = parser.parse_args(arguments)
    rows = []
    for ablation in options.ablations:
        name, equals, folder = ablation.partition("=")
        file = Path(folder) / "differences.csv"
        if not equals or not file.is_file():
            sys.exit(f"error: {ablation}: expected NAME=DIR, the folder of a finished ablation")
        rows += table_of(name, file)
    if not rows:
        sys.exit("error: no arm was scored on test; let the ablations have finalists")
    with options.out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    options.out.with_suffix(".md").write_text(markdown(rows), encoding="utf-8")


def table_of(name: str, file: Path) -> list[dict[str, str]]:
    """A row for each arm and measure of one ablation's test split."""
    with file.open(newline="", encoding="utf-8") as stream:
        on_test = [row for row in csv.DictReader(stream) if row["split"] == "test"]
    found: Differences = {(row["arm"], row["reference"], row["measure"]): row for row in on_test}
    rows = []
    for arm in dict.fromkeys(row["arm"] for row in on_test):
        for measure in MEASURES:
            counts = found[arm, "none", measure]
            row = {"ablation": name, "arm": arm, "measure": measure}
            row |= {key: counts[key] for key in ("seeds", "images", "sources")}
            for part, (which, reference) in PARTS.items():
                difference = found.get((which or arm, reference, measure), {})
                for key in ("points", "low", "high"):
                    row[f"{part} {key}"] = difference.get(key, "")
            rows.append(row)
    return rows


def markdown(rows: list[dict[str, str]]) -> str:
    """The measures of `SHOWN`, a line an arm."""
    heads = [f"{MEASURES[measure]}: {part}" for measure in SHOWN for part in PARTS]
    lines = ["| ablation | arm | seeds | " + " | ".join(heads) + " |"]
    lines.append("|" + "---|" * (3 + len(heads)))
    for row in rows:
        if row["measure"] != SHOWN[0]:
            continue
        same = {
            other["measure"]: other
            for other in rows
            if (other["ablation"], other["arm"]) == (row["ablation"], row["arm"])
        }
        cells = [interval(same[measure], part) for measure in SHOWN for part in PARTS]
        lines.append(
            f"| {row['ablation']} | `{row['arm']}` | {row['seeds']} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines) + "\n"


def interval(row: dict[str, str], part: str) -> str:
    """A difference and its interval, in points; empty if it was not measured."""
    if not row[f"{part} points"]:
        return ""
    points, low, high = (float(row[f"{part} {key}"]) for key in ("points", "low", "high"))
    return f"{points:+.2f}" if low != low else f"{points:+.2f} [{low:+.2f}, {high:+.2f}]"


if __name__ == "__main__":
    main()
