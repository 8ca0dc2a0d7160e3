"""Compare the estimates of `nucleipel plan` with the run: patches, disk, memory, seconds.

    python scripts/benchmarks/bench_plan.py --manifest dsb2018/manifest.csv --split test
    python scripts/benchmarks/bench_plan.py SLIDE.svs --checkpoint RUN --stages predict stitch
    python scripts/benchmarks/bench_plan.py --side 8192 --tissue 0.3  # generated, with glass

Runs `nucleipel plan` first, then each stage, every one in a process of its own, as a
user does. Disk is the most that the files of the output held at a time, measured
twice a second. Memory is the largest resident set (Linux), without the second process
of `segment`. Seconds are those of the clock, from the start of Python to its end. A
ratio is the estimate divided by the measured value: above 1 the plan was too high.
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
    options = parser.parse_args()
    if not options.images and not options.side and not options.manifest:
        parser.error("give images, --manifest or --side")
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        images = [*map(str, options.images)]
        if options.side:
            images.append(str(generate(Path(folder), options.side, options.tissue)))
        for line in compare(rows_of(images, options, Path(folder)), options, Path(folder)):
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


def rows_of(images: list[str], options: argparse.Namespace, folder: Path) -> list[str]:
    """The options that name the images: the rows of a split are a manifest of their own.

    `options.tiled` are then the splits of it that are tiled.
    """
    if not options.manifest:
        return images
    with options.manifest.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if options.split in (None, row["split"])]
    options.tiled = [name for name in ("train", "val") if name in {row["split"] for row in rows}]
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return ["--manifest", str(manifest), "--data-root", str(options.manifest.parent)]


def compare(rows: list[str], options: argparse.Namespace, folder: Path) -> list[str]:
    """Run plan and stages; return the lines of the table."""
    output, run = measured(["plan", *rows, "--checkpoint", options.checkpoint, "--json"], None)
    plan = json.loads(output)
    needs = {need["stage"]: need for need in (*plan["stages"], plan["segment"])}
    lines = [f"plan: {run['seconds']:.1f} s, {plan['sampled_windows']} windows sampled"]
    lines.append(f"{'stage':9} {'figure':13} {'estimate':>12} {'measured':>12} {'ratio':>6}")
    for stage in options.stages:
        if stage not in needs:
            continue
        out = folder / stage
        _, found = measured(command(stage, rows, options, folder), out)
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


def command(stage: str, rows: list[str], options: argparse.Namespace, folder: Path) -> list[str]:
    """The command line of a stage; its output has the name of the stage."""
    out = ["--out", str(folder / stage)]
    if stage == "tile":
        return ["tile", *rows, *out, "--set", f"splits={json.dumps(options.tiled)}"]
    if stage == "stitch":
        return ["stitch", "--predictions", str(folder / "predict"), *out]
    return [stage, *rows, "--checkpoint", options.checkpoint, *out]


# ru_maxrss would count what the parent held when it forked
RUN = """
import sys
from pathlib import Path
from nucleipel.cli.main import main
peak = Path(sys.argv.pop(1))
try:
    main()
finally:
    peak.write_text(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def measured(command: list[str], out: Path | None) -> tuple[str, dict[str, Any]]:
    """The output of a command, and its disk, memory and seconds."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as printed, tempfile.NamedTemporaryFile("r") as peak_kib:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", RUN, peak_kib.name, "-q", *command], stdout=printed
        )
        disk = 0
        while process.poll() is None:
            disk = max(disk, bytes_below(out) if out else 0)
            time.sleep(SAMPLE_SECONDS)
        if process.returncode:
            sys.exit(f"{' '.join(command)}: failed, see above")
        seconds = time.perf_counter() - start
        printed.seek(0)
        memory = 1024 * int(peak_kib.read())
        disk = max(disk, bytes_below(out) if out else 0)
        return printed.read(), {"disk_bytes": disk, "memory_bytes": memory, "seconds": seconds}


def bytes_below(folder: Path) -> int:
    """Bytes of all files of a folder now; some may be removed while they are counted."""
    total = 0
    for path, _, names in os.walk(folder):  # a folder that was removed counts nothing
        for name in names:
            with suppress(OSError):
                total += Path(path, name).lstat().st_size
    return total


def patches(stage: str, out: Path, plan: dict[str, Any]) -> int | None:
    """Patches that a stage made; for `predict`, the windows that it did not skip."""
    if stage == "tile":
        return json.loads((out / "nucleipel.json").read_text())["patches"]
    if stage != "predict":
        return None
    cores = sum(image["cores"] for image in plan["images"])
    tissue = [json.loads(path.read_text())["tissue"] for path in out.glob("*/image.json")]
    return cores - sum(image.get("skipped_cores", 0) for image in tissue)


def count_nuclei(out: Path) -> int:
    """Rows of all tables."""
    from pyarrow.parquet import read_metadata

    return sum(read_metadata(path).num_rows for path in out.glob("*/nuclei.parquet"))


if __name__ == "__main__":
    main()
