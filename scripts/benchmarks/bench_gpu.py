"""One check of prediction and training on a GPU: the same nuclei as on the CPU, and how fast.

    python scripts/benchmarks/bench_gpu.py
    python scripts/benchmarks/bench_gpu.py --images HE.png FIELD.png --results FOLDER
    python scripts/benchmarks/bench_gpu.py --device cpu --side 1024 --small 512    # to try it

The same nuclei: images, or a generated one of --small px, are segmented on the CPU and on the
device; PQ of the second nuclei to the first. Speed: a generated slide of tissue alone, --side px
at 0.5 um, by `nucleipel segment` with all outputs: seconds a mm2 of the network (from its first
window to its last) and of the whole command, and the share of the network's time in which it was at
work. The command runs twice; the second counts. Training: steps of the default network on
random windows.

The goals are a PQ of .995, .1 s/mm2 of the network, and .9 of the time at work. It was written to
take at most eight minutes, and was never run on a GPU.
"""

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # also where another script runs this one

from bench_training import measure
from slides.command import Command
from slides.pieces import generated, write
from slides.tables import Row, show

from nucleipel.io.nuclei.image_output import read_instance_map
from nucleipel.metrics.scores import ImageScore

SAME_PQ, SECONDS_A_MM2, AT_WORK = 0.995, 0.1, 0.9
TRAINED = (("adamw", "auto"), ("adamw", "bfloat16"))


def main() -> None:
    """Read the command line, generate slides, measure, print one table."""
    options = _parser().parse_args()
    click.echo(f"{' '.join(['bench_gpu.py', *sys.argv[1:]])}\n\n{_name_of(options.device)}\n")
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        list(show("gpu", _rows(options, Path(folder)), options.results))


def _rows(options: argparse.Namespace, scratch: Path) -> Iterator[Row]:
    threads = os.cpu_count() or 1
    on_cpu, on_device = (
        Command(options.checkpoint, device, threads, ("--tissue", "off"), scratch)
        for device in ("cpu", options.device)
    )
    small = generated("h&e", options.small)
    for image in options.images or [write(small.alone(), scratch, "small", small.mpp)]:
        yield _same(image, on_cpu, on_device)
    large = generated("h&e", options.side)
    yield from _speed(write(large.alone(), scratch, "large", large.mpp), on_device)
    speeds = measure(
        {}, batch=options.batch, window_px=256, rounds=10, device=options.device, ways=TRAINED
    )
    for (optimizer, precision), speed in speeds.items():
        yield _row(f"training, {optimizer}, {precision}, windows/s", speed)


def _same(image: Path, on_cpu: Command, on_device: Command) -> Row:
    folders = (command.segment(image).folder for command in (on_cpu, on_device))
    maps = [read_instance_map(folder.parent, folder.name) for folder in folders]
    score = ImageScore.of(*maps)
    name = f"PQ to the CPU's {score.annotated_count} nuclei, {image.name}"
    return _row(name, score.to_scores()["pq"], least=SAME_PQ)


def _speed(slide: Path, command: Command) -> Iterator[Row]:
    command.segment(slide)
    run = command.segment(slide)
    network = re.search(r"idle \d+ % of ([\d.]+) s", run.log)
    area = re.search(r"([\d.e+-]+) mm2/s", run.log)
    if network is None or area is None:
        sys.exit(f"no line of times in:\n{run.log}")
    elapsed = re.search(r" s in ([\d.]+) s", run.log)
    mm2 = float(area[1]) * float(elapsed[1] if elapsed else run.seconds)
    yield _row(f"{mm2:.3g} mm2, network, s/mm2", float(network[1]) / mm2, most=SECONDS_A_MM2)
    yield _row(f"{mm2:.3g} mm2, whole command, s/mm2", run.seconds / mm2)
    yield _row("network at work, share", 1 - run.idle_percent / 100, least=AT_WORK)


def _row(name: str, value: float, *, least: float | None = None, most: float | None = None) -> Row:
    met = (least is None or value >= least) and (most is None or value <= most)
    goal = None if least is most is None else (f">= {least}" if most is None else f"<= {most}")
    return {"what": name, "value": value, "goal": goal, "met": None if goal is None else met}


def _name_of(device: str) -> str:
    import torch

    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{device}, torch {torch.__version__}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--images", nargs="+", type=Path, default=[])
    parser.add_argument("--small", type=int, default=2048, help="side in px of the generated image")
    parser.add_argument("--side", type=int, default=8192, help="side in px of the slide")
    parser.add_argument("--batch", type=int, default=16, help="windows of a training step")
    parser.add_argument("--scratch", type=Path, help="folder for slides and outputs")
    parser.add_argument("--results", type=Path, help="folder for the table as CSV")
    return parser


if __name__ == "__main__":
    main()
