"""Whole slides, end to end: the same nuclei whatever glass lies around, and what that costs.

    python scripts/benchmarks/bench_slides.py same                    # generated pieces
    python scripts/benchmarks/bench_slides.py same --pieces HE.svs FIELD.png=0.5 IHC.ome.tif
    python scripts/benchmarks/bench_slides.py empty
    python scripts/benchmarks/bench_slides.py cost --sides 12000 100000
    python scripts/benchmarks/bench_slides.py cost --slides SLIDE.svs OTHER.ome.tif
    python scripts/benchmarks/bench_slides.py huge                    # hours on few cores
    python scripts/benchmarks/bench_slides.py mask --others
    python scripts/benchmarks/bench_slides.py --results FOLDER --threads 2 --device cpu mask

`same`: a piece of tissue as an image of its own against the same pixels within
slides of which it is a share of 50 to 0.3 %, at three places. `empty`: slides of
glass, of noise, of one value; nothing may be found, and nothing fail. `cost`:
seconds and memory beside the area of tissue, of what was predicted and of the
slide; 12,000 px with 3 % tissue against that tissue alone. `huge`:
the same area of tissue on slides of 20,000 and 40,000 px, then 100,000 px with 5 %
tissue: time should follow tissue, memory should not grow. `mask`: which bare
cores are skipped and which nuclei are lost, for each artifact of the glass; with
`--others` also by the masks of TIAToolbox, CLAM, HistoQC and scikit-image.

All but `mask`, which runs no network, start `nucleipel segment`, each slide in
a process of its own. Seconds are those of the clock; `cost` takes off those of a
run on 256 px (imports, checkpoint, compiled code). Memory is the greatest sum of
the proportional set sizes (PSS) of all its processes, sampled twice a second
(Linux). Tables are Markdown; `--results FOLDER` keeps them as CSV, too. What
follows `--` goes to `nucleipel segment`.

An anchor for `cost`: HoVer-NeXt (Baumann et al. 2024), the fastest published
whole-slide pipeline for nuclei, is reported with 1.8 s/mm2 on a GPU.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # also where another script runs this one

from slides import cost, empty, mask, same
from slides.command import Command
from slides.pieces import KINDS, Sample, generated, real
from slides.tables import show

SHARES = (50.0, 20.0, 10.0, 4.0, 1.0, 0.3)
STAINS = ("h&e", "fluorescence", "ihc")


def main() -> None:
    """Read the command line, generate slides, measure, print."""
    own, passed_on = _split(sys.argv[1:])
    options = _parser().parse_args(own)
    click.echo(f"{' '.join(['bench_slides.py', *sys.argv[1:]])}\n")
    click.echo(f"{platform.platform()}, {_processor()}, {os.cpu_count()} CPUs\n")
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        command = Command(
            options.checkpoint, options.device, options.threads, passed_on, Path(folder)
        )
        rows = list(show(options.part, _rows(command, options), options.results))
        if options.part == "same":
            list(show("same_summary", same.summary(rows), options.results))
        if options.part == "mask":
            list(show("mask_summary", mask.summary(rows), options.results))


def _rows(command: Command, options: argparse.Namespace) -> Iterator[dict[str, object]]:
    if options.part == "same":
        shares = [share / 100 for share in options.shares]
        return same.rows(command, _samples(options), shares, options.places)
    if options.part == "empty":
        return empty.rows(command, options.side)
    if options.part == "mask":
        return mask.rows(
            command, options.kinds, options.side, options.share / 100, cases=options.cases,
            with_others=options.others,
        )  # fmt: skip
    if options.part == "huge":
        return _huge_rows(command, options)
    return _cost_rows(command, options)


def _cost_rows(command: Command, options: argparse.Namespace) -> Iterator[dict[str, object]]:
    yield from cost.slide_rows(command, options.slides)
    if options.piece_side:
        yield from cost.piece_rows(command, options.piece_side, options.piece_share / 100)
    for side in options.sides:
        yield cost.island_row(command, side, options.share / 100)
        if options.without_mask:
            yield cost.island_row(command, side, options.share / 100, "--tissue", "off")


def _huge_rows(command: Command, options: argparse.Namespace) -> Iterator[dict[str, object]]:
    for side in options.sides:
        yield cost.island_row(command, side, options.tissue_mpx * 1e6 / side**2)
    if options.largest:
        yield cost.island_row(command, options.largest, options.share / 100)


def _samples(options: argparse.Namespace) -> list[Sample]:
    if not options.pieces:
        return [generated(kind, options.piece_px) for kind in options.kinds]
    side = options.piece_px
    pieces = (text.partition("=") for text in options.pieces)
    return [
        real(Path(path), mpp=float(mpp) if mpp else None, side=side, white=options.white)
        for path, _, mpp in pieces
    ]


def _split(arguments: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """The script's own arguments, and those after `--`."""
    if "--" not in arguments:
        return arguments, ()
    at = arguments.index("--")
    return arguments[:at], tuple(arguments[at + 1 :])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each library")
    parser.add_argument("--scratch", type=Path, help="folder for the slides and the outputs")
    parser.add_argument("--results", type=Path, help="folder for the tables as CSV")
    parts = parser.add_subparsers(dest="part", required=True)

    one = parts.add_parser("same")
    one.add_argument("--pieces", nargs="+", metavar="PATH[=MPP]", help="default: generated ones")
    one.add_argument("--kinds", nargs="+", choices=KINDS, default=STAINS, help="of these")
    one.add_argument("--white", type=float, default=243, help="of the glass around given pieces")
    one.add_argument("--piece-px", type=int, default=2048, help="largest side of a piece")
    one.add_argument("--shares", nargs="+", type=float, default=SHARES, help="%% of the slide")
    one.add_argument("--places", nargs="+", choices=same.PLACES, default=tuple(same.PLACES))

    parts.add_parser("empty").add_argument("--side", type=int, default=4096, help="px")

    one = parts.add_parser("cost")
    one.add_argument("--slides", nargs="+", type=Path, default=[], help="slides to measure on")
    one.add_argument("--piece-side", type=int, default=12000, help="px; 0: without this part")
    one.add_argument("--piece-share", type=float, default=3.0, help="%% of that slide")
    one.add_argument("--sides", nargs="*", type=int, default=(12000,), help="px, with islands")
    one.add_argument("--share", type=float, default=5.0, help="%% of islands")
    one.add_argument("--without-mask", action="store_true", help="each also with --tissue off")

    one = parts.add_parser("huge")
    one.add_argument("--sides", nargs="*", type=int, default=(20_000, 40_000), help="px")
    one.add_argument("--tissue-mpx", type=float, default=16.0, help="of tissue on each of them")
    one.add_argument("--largest", type=int, default=100_000, help="px; 0: without it")
    one.add_argument("--share", type=float, default=5.0, help="%% of tissue on the largest")

    one = parts.add_parser("mask")
    one.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    one.add_argument("--side", type=int, default=12000, help="px")
    one.add_argument("--share", type=float, default=5.0, help="%% of tissue")
    one.add_argument("--cases", type=int, help="only the first so many")
    one.add_argument("--others", action="store_true", help="also the masks of other programs")
    return parser


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
