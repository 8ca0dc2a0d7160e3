"""Time one slide on one worker and on two: real Dask workers, each a process of one thread.

    python scripts/benchmarks/bench_workers.py                      # generated, 8192 px
    python scripts/benchmarks/bench_workers.py --slide SLIDE.svs --workers 1 2 4 --rounds 3
    python scripts/benchmarks/bench_workers.py --side 16384 -- --checkpoint RUN --device cpu

Each run starts workers of its own, waits until they are there, and times `nucleipel
segment --cluster` from its start to its end. Numbers of workers take turns, so that
other work on the machine slows all of them; the load average of the minute before a
run stands beside it, and `quiet` says whether as many cores were idle as workers
were started. Where none were, seconds of CPU say more: those of the command and of
its busiest worker, which follow each other. All runs must write the same bytes. What
follows `--` goes to `nucleipel segment`.
"""

import argparse
import hashlib
import logging
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parent))  # also where another script runs this one

from slides.command import THREADS
from slides.tables import show

WAIT_SECONDS = 300


def main() -> None:
    """Read the command line, generate a slide, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slide", type=Path, help="default: a generated one")
    parser.add_argument("--side", type=int, default=8192, metavar="PX", help="of a generated one")
    parser.add_argument("--share", type=float, default=25.0, help="%% of it that is tissue")
    parser.add_argument("--workers", type=int, nargs="+", default=(1, 2), metavar="N")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each number of workers")
    parser.add_argument("--scratch", type=Path, help="folder for the slide and the outputs")
    parser.add_argument("--results", type=Path, help="folder for the table as CSV")
    own, passed_on = _split(sys.argv[1:])
    options = parser.parse_args(own)
    click.echo(f"{' '.join(['bench_workers.py', *sys.argv[1:]])}\n")
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        slide = options.slide or _generate(Path(folder), options.side, options.share / 100)
        rows = list(
            show("workers", _rows(slide, Path(folder), options, passed_on), options.results)
        )
    _summarize(rows, options.workers)


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The script's own arguments, and those after `--`."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


def _generate(folder: Path, side: int, share: float) -> Path:
    from slides.pieces import GENERATED_MPP, write

    from nucleipel.data.synthetic import BrightGround, Islands, SyntheticSlide, build_tissue

    tissue, layout = build_tissue("h&e"), Islands(share)
    slide = SyntheticSlide((side, side), BrightGround(), tissue=tissue, layout=layout)
    return write(slide, folder, "slide", GENERATED_MPP)


def _rows(
    slide: Path, folder: Path, options: argparse.Namespace, passed_on: list[str]
) -> Iterator[dict[str, object]]:
    digests = set()
    for number in range(options.rounds):
        # the other way round in every second round
        for workers in options.workers if number % 2 == 0 else reversed(options.workers):
            out = folder / "out"
            row = _timed(slide, out, workers, passed_on)
            digests.add(_digest(out))
            shutil.rmtree(out)
            if len(digests) > 1:
                sys.exit(f"round {number + 1}, {workers} workers: other bytes than before")
            yield {"round": number + 1, **row}


def _timed(slide: Path, out: Path, workers: int, passed_on: list[str]) -> dict[str, object]:
    """One run: its seconds by the clock and of CPU, and how busy the machine was before it."""
    from distributed import Client

    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    with _cluster(workers) as cluster, Client(cluster) as client:
        own, before = _cpu_of_children(), client.run(time.process_time)
        load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
        command = [sys.executable, "-m", "nucleipel", "--quiet", "segment", str(slide)]
        command += ["--out", str(out), "--threads", "1", *passed_on]
        command += ["--cluster", cluster.scheduler_address]
        started = time.perf_counter()
        subprocess.run(  # noqa: S603
            command, env=environment, check=True, stdout=subprocess.DEVNULL
        )
        seconds = time.perf_counter() - started
        own, after = _cpu_of_children() - own, client.run(time.process_time)
        busiest = max(after[name] - before[name] for name in before)
    quiet = "yes" if load + workers <= cores + 0.5 else "no"
    return {
        "workers": workers,
        "s": seconds,
        "CPU s, command": own,
        "CPU s, busiest worker": busiest,
        "CPU s, in a row": own + busiest,
        "load before": load,
        "cores": cores,
        "quiet": quiet,
    }


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cluster(workers: int) -> Any:
    """Workers of one thread each, in all libraries; they are there when it returns."""
    import dask
    from distributed import LocalCluster

    threads = {f"distributed.nanny.pre-spawn-environ.{name}": 1 for name in THREADS}
    with dask.config.set(threads):
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )
    cluster.wait_for_workers(workers, timeout=WAIT_SECONDS)
    return cluster


def _digest(out: Path) -> str:
    return hashlib.sha256((out / "SHA256SUMS").read_bytes()).hexdigest()


def _summarize(rows: list[Any], workers: Sequence[int]) -> None:
    for what in ("s", "CPU s, in a row"):
        median = {
            count: statistics.median(row[what] for row in rows if row["workers"] == count)
            for count in workers
        }
        for count in workers[1:]:
            gain = median[workers[0]] / median[count]
            click.echo(
                f"{what}: {count} workers {gain:.2f} times as fast as {workers[0]} (medians)"
            )
    if any(row["quiet"] == "no" for row in rows):
        click.echo("other work ran on the machine: what the clock says is less sure")


if __name__ == "__main__":
    main()
