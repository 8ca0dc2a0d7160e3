"""How fast whole slides become nuclei, end to end, and where the time goes.

    python scripts/benchmarks/bench_slides.py SLIDE.svs OTHER.ome.tif         # one row a slide
    python scripts/benchmarks/bench_slides.py --side 8192 --tissue 0.3        # a generated one
    python scripts/benchmarks/bench_slides.py --side 8192 --tissue 0.1 --without-mask
    python scripts/benchmarks/bench_slides.py --side 40000 --tissue 0.04 --memory
    python scripts/benchmarks/bench_slides.py SLIDE.svs --threads 1 --device cpu --at-mpp 0.5

Each row is one `segment` with its outputs in a process of its own, after a
small image that loads and compiles what there is to. Seconds are those of the
clock, from the checkpoint to the finished folder; `read`, `predict`, `stitch`
and `write` are those of `nucleipel.core.stopwatch`, and overlap where threads
do; `idle` is the share of the time from the network's first window to its last
in which it had nothing to do. Mpx and mm2 are of whole slides, glass included.

`--side` generates a JPEG pyramid of H&E-like islands of tissue on glass.
`--without-mask` adds a row with `--tissue off`, and how many times as long it
took. `--memory` writes the CSV table, too, and adds the greatest sum of the
proportional set sizes (PSS) of all processes, looked at twice a second (Linux).

An anchor: HoVer-NeXt (Baumann et al. 2024), the fastest published whole-slide
pipeline for nuclei, is reported with 1.8 s/mm2 on a GPU.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
GENERATED_MPP = 0.5
WARM_PX = 256
SAMPLE_SECONDS = 0.5
PHASES = ("read", "predict", "stitch", "write")


def main() -> None:
    """Read the command line, generate what is to be, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slides", type=Path, nargs="*", help="slides to measure on")
    parser.add_argument("--side", type=int, metavar="PX", help="generate a slide of that side")
    parser.add_argument("--tissue", type=float, default=0.3, help="its share of tissue, 0 to 1")
    parser.add_argument("--without-mask", action="store_true", help="also predict all glass")
    parser.add_argument("--memory", action="store_true", help="also peak memory, all outputs on")
    parser.add_argument("--checkpoint", type=Path, default=Path("default"))
    parser.add_argument("--at-mpp", type=float, help="working resolution, um per pixel")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the network")
    parser.add_argument("--stitching-threads", type=int, default=2, help="that find nuclei")
    parser.add_argument("--scratch", type=Path, help="folder for the slide and the outputs")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        click.echo(json.dumps(run(Path(given.child[0]), given.child[1], given)))
        return
    if not given.slides and not given.side:
        parser.error("give slides, or --side")
    click.echo(
        f"{platform.platform()}, {_processor()}, {os.cpu_count()} CPUs; {given.threads} threads"
        f" of the network, {given.stitching_threads} of stitching, device {given.device}"
    )
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        slides = [*given.slides, *([generate(Path(folder), given)] if given.side else [])]
        click.echo(header(memory=given.memory))
        for slide in slides:
            bench(slide, Path(folder), given)


# --- in the parent -------------------------------------------------------------------


def generate(folder: Path, given: argparse.Namespace) -> Path:
    """A slide with islands of tissue, written row by row."""
    from nucleipel.data.synthetic import BrightGround, Islands, SyntheticSlide, build_tissue
    from nucleipel.io.slides.write_pyramid import write_pyramid

    path = folder / f"generated-{given.side}.ome.tif"
    shape = (given.side, given.side)
    layout = Islands(given.tissue)
    slide = SyntheticSlide(shape, BrightGround(), tissue=build_tissue("h&e"), layout=layout)
    write_pyramid(path, shape, slide.read, mpp=GENERATED_MPP, repeats=slide.repeats)
    return path


def bench(slide: Path, folder: Path, given: argparse.Namespace) -> None:
    """One row; with `--without-mask` two, and their ratio."""
    rows = []
    for mask in ("auto", "off") if given.without_mask else ("auto",):
        rows.append(child(slide, mask, folder, given))
        click.echo(line(slide, mask, rows[-1]))
    if len(rows) == 2:
        click.echo(
            f"{slide.name}: {rows[0]['skipped_percent']:g} % skipped as glass,"
            f" {rows[1]['seconds'] / rows[0]['seconds']:.2f} times as fast as without the mask"
        )


def header(*, memory: bool) -> str:
    """The names of the columns."""
    names = f"{'slide':24} {'mask':>4} {'Mpx':>7} {'nuclei':>8} {'s':>8} {'Mpx/s':>7} {'mm2/s':>7}"
    names += f" {'s/mm2':>7}" + "".join(f" {phase:>8}" for phase in PHASES) + f" {'idle':>5}"
    return names + (f" {'peak MB':>8}" if memory else "")


def line(slide: Path, mask: str, row: dict[str, Any]) -> str:
    """One row of the table."""
    seconds, mm2 = row["seconds"], row["mm2"]
    area = (f"{mm2 / seconds:.4f}", f"{seconds / mm2:.2f}") if mm2 else ("", "")
    told = f"{slide.name[-24:]:24} {mask:>4} {row['mpx']:7.1f} {row['nuclei']:8} {seconds:8.1f}"
    told += f" {row['mpx'] / seconds:7.2f} {area[0]:>7} {area[1]:>7}"
    told += "".join(f" {row['split'].get(phase, 0):8.1f}" for phase in PHASES)
    told += f" {100 * row['idle']:4.0f}%"
    return told + (f" {row['peak_mb']:8.0f}" if "peak_mb" in row else "")


def child(slide: Path, mask: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """`run` in a process of its own, with the threads that were asked for."""
    command = [sys.executable, __file__, "--child", str(slide), mask]
    command += ["--checkpoint", str(given.checkpoint), "--device", given.device]
    command += ["--stitching-threads", str(given.stitching_threads), "--scratch", str(folder)]
    command += ["--at-mpp", str(given.at_mpp)] if given.at_mpp else []
    command += ["--memory"] if given.memory else []
    env = {**os.environ, **dict.fromkeys(THREADS, str(given.threads))}
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(  # noqa: S603
            command, env=env, stdout=told, start_new_session=True
        )
        peak = peak_pss_mb(process) if given.memory else None
        if process.wait():
            sys.exit(f"{slide}: failed, see above")
        told.seek(0)
        row = json.loads(told.read().splitlines()[-1])
    return row if peak is None else {**row, "peak_mb": peak}


def peak_pss_mb(process: subprocess.Popen[bytes]) -> float:
    """Until it ends: the greatest memory of the process and all that it started."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(_pss_kb, _session(process.pid))))
        time.sleep(SAMPLE_SECONDS)
    return peak / 1024


def _session(leader: int) -> Iterator[Path]:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) == leader:
            yield entry


def _pss_kb(process: Path) -> int:
    try:
        lines = (process / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


# --- in the child --------------------------------------------------------------------


def run(slide: Path, mask: str, given: argparse.Namespace) -> dict[str, Any]:
    """Segment a slide, and tell what the clock and the outputs say."""
    from pyarrow.parquet import read_metadata

    from nucleipel.config import SegmentConfig
    from nucleipel.core.stopwatch import Stopwatch
    from nucleipel.data.synthetic import build_scene
    from nucleipel.io.manifest import manifest_of_images
    from nucleipel.io.slides.write_slide import write_slide
    from nucleipel.stages.pipeline.segment import segment

    config = SegmentConfig(
        device=given.device,
        threads=given.stitching_threads,
        tissue=mask,
        at_mpp=given.at_mpp,
        csv=given.memory,
    )
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        small = Path(folder) / "small.ome.tif"
        mpp = given.at_mpp or GENERATED_MPP
        write_slide(small, build_scene((WARM_PX, WARM_PX), seed=0, glass=False).image, mpp=mpp)
        segment(given.checkpoint, manifest_of_images([small]), Path(folder) / "warm", config)
        rows, out = manifest_of_images([slide]), Path(folder) / "out"
        clock = Stopwatch()
        segment(given.checkpoint, rows, out, config, clock=clock)
        seconds = clock.elapsed
        nuclei = out / rows.rows[0].id
        tissue = json.loads((nuclei / "certificate.json").read_text())["tissue"]
        return {
            "seconds": seconds,
            "mpx": clock.mpx,
            "mm2": clock.mm2,
            "split": clock.seconds,
            "idle": clock.idle_share,
            "nuclei": read_metadata(nuclei / "nuclei.parquet").num_rows,
            "skipped_percent": tissue["skipped_percent"],
        }


if __name__ == "__main__":
    main()
