"""How near a plan comes to what the run then takes: patches, disk, memory, seconds.

    python scripts/benchmarks/bench_plan.py --manifest dsb2018/manifest.csv --split test
    python scripts/benchmarks/bench_plan.py SLIDE.svs --checkpoint RUN --stages predict stitch
    python scripts/benchmarks/bench_plan.py --side 8192 --tissue 0.3  # generated, with glass

`nucleipel plan` first, then each stage, every one in a process of its own, as a
user runs them. Disk is the most that the output's files held at a time, looked
at twice a second; memory the largest resident set (Linux), a second process of
`segment` not counted; seconds are those of the clock, from the start of Python
to its end. A ratio is estimate by measured: above 1 the plan asked for too much.
Patches must be equal.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

STAGES = ("tile", "predict", "stitch", "segment")
GENERATED_MPP = 0.5
SAMPLE_SECONDS = 0.5
FIGURES = ("patches", "disk_bytes", "memory_bytes", "seconds")


def main() -> None:
    """Read the command line, plan, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, nargs="*", help="images and slides")
    parser.add_argument("--manifest", type=Path, help="instead of naming them")
    parser.add_argument("--split", help="only the rows of this split")
    parser.add_argument("--side", type=int, metavar="PX", help="generate a slide of that side")
    parser.add_argument("--tissue", type=float, default=0.3, help="its share of tissue, 0 to 1")
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--scratch", type=Path, help="folder for the slide and the outputs")
    given = parser.parse_args()
    if not given.images and not given.side and not given.manifest:
        parser.error("give images, --manifest or --side")
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        images = [*map(str, given.images)]
        if given.side:
            images.append(str(generate(Path(folder), given.side, given.tissue)))
        for line in compare(rows_of(images, given, Path(folder)), given, Path(folder)):
            click.echo(line)


def generate(folder: Path, side: int, tissue: float) -> Path:
    """A slide with islands of tissue, written row by row."""
    from nucleipel.data.synthetic import BrightGround, Islands, SyntheticSlide, build_tissue
    from nucleipel.io.slides.write_pyramid import write_pyramid

    path = folder / f"generated-{side}.ome.tif"
    layout = Islands(tissue)
    slide = SyntheticSlide((side, side), BrightGround(), tissue=build_tissue("h&e"), layout=layout)
    write_pyramid(path, slide.shape, slide.read, mpp=GENERATED_MPP, repeats=slide.repeats)
    return path


def rows_of(images: list[str], given: argparse.Namespace, folder: Path) -> list[str]:
    """The options that name the images: the rows of a split are a manifest of their own.

    `given.tiled` are then the splits of it that are tiled.
    """
    if not given.manifest:
        return images
    with given.manifest.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if given.split in (None, row["split"])]
    given.tiled = [name for name in ("train", "val") if name in {row["split"] for row in rows}]
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return ["--manifest", str(manifest), "--data-root", str(given.manifest.parent)]


def compare(rows: list[str], given: argparse.Namespace, folder: Path) -> list[str]:
    """Run it all; the lines of the table."""
    told, run = measured(["plan", *rows, "--checkpoint", given.checkpoint, "--json"], None)
    plan = json.loads(told)
    needs = {need["stage"]: need for need in (*plan["stages"], plan["segment"])}
    lines = [f"plan: {run['seconds']:.1f} s, {plan['sampled_windows']} windows sampled"]
    lines.append(f"{'stage':9} {'figure':13} {'estimate':>12} {'measured':>12} {'ratio':>6}")
    for stage in given.stages:
        if stage not in needs:
            continue
        out = folder / stage
        _, found = measured(command(stage, rows, given, folder), out)
        found["patches"] = patches(stage, out, plan)
        for figure in FIGURES:
            estimate, truth = needs[stage][figure], found[figure]
            if truth is not None:
                lines.append(
                    f"{stage:9} {figure:13} {estimate:12,.0f} {truth:12,.0f}"
                    f" {estimate / truth:6.2f}"
                )
        if stage in ("stitch", "segment"):
            nuclei = sum(image["nuclei"] for image in plan["images"])
            lines.append(f"{stage:9} {'nuclei':13} {nuclei:12,} {count_nuclei(out):12,}")
    return lines


def command(stage: str, rows: list[str], given: argparse.Namespace, folder: Path) -> list[str]:
    """A stage's command, its output named as it is."""
    out = ["--out", str(folder / stage)]
    if stage == "tile":
        return ["tile", *rows, *out, "--set", f"splits={json.dumps(given.tiled)}"]
    if stage == "stitch":
        return ["stitch", "--predictions", str(folder / "predict"), *out]
    return [stage, *rows, "--checkpoint", given.checkpoint, *out]


# ru_maxrss would count what the parent held when it forked
RUN = """
import sys
from pathlib import Path
from nucleipel.cli.main import main
told = Path(sys.argv.pop(1))
try:
    main()
finally:
    told.write_text(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def measured(command: list[str], out: Path | None) -> tuple[str, dict[str, Any]]:
    """What a command printed, and its disk, memory and seconds."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as told, tempfile.NamedTemporaryFile("r") as peak_kib:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", RUN, peak_kib.name, "-q", *command], stdout=told
        )
        disk = 0
        while process.poll() is None:
            disk = max(disk, bytes_below(out) if out else 0)
            time.sleep(SAMPLE_SECONDS)
        if process.returncode:
            sys.exit(f"{' '.join(command)}: failed, see above")
        seconds = time.perf_counter() - start
        told.seek(0)
        memory = 1024 * int(peak_kib.read())
        disk = max(disk, bytes_below(out) if out else 0)
        return told.read(), {"disk_bytes": disk, "memory_bytes": memory, "seconds": seconds}


def bytes_below(folder: Path) -> int:
    """Of all files there at the moment; some go while they are counted."""
    total = 0
    for path, _, names in os.walk(folder):  # a folder that has gone counts nothing
        for name in names:
            with suppress(OSError):
                total += Path(path, name).lstat().st_size
    return total


def patches(stage: str, out: Path, plan: dict[str, Any]) -> int | None:
    """Those that a stage made; of `predict`, the windows that it did not skip."""
    if stage == "tile":
        return json.loads((out / "nucleipel.json").read_text())["patches"]
    if stage != "predict":
        return None
    cores = sum(image["cores"] for image in plan["images"])
    tissue = [json.loads(path.read_text())["tissue"] for path in out.glob("*/image.json")]
    return cores - sum(told.get("skipped_cores", 0) for told in tissue)


def count_nuclei(out: Path) -> int:
    """Rows of all tables."""
    from pyarrow.parquet import read_metadata

    return sum(read_metadata(path).num_rows for path in out.glob("*/nuclei.parquet"))


if __name__ == "__main__":
    main()
