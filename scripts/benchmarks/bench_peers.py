"""nucleipel beside StarDist, InstanSeg and Cellpose: whole commands on the same images and cores.

    python scripts/benchmarks/bench_peers.py start
    python scripts/benchmarks/bench_peers.py small --images FOLDER/*.png
    python scripts/benchmarks/bench_peers.py slide --images SLIDE.svs
    python scripts/benchmarks/bench_peers.py sparse
    python scripts/benchmarks/bench_peers.py start --peers stardist --repeats 5 --results FOLDER

`start`: one generated image of 256 px. `small`: many images in one command. `slide`: one image of
some megapixels. `sparse`: a generated slide of 12,000 px with 3 % tissue. Each program runs as a
process of its own from a warm file system, in turns; the first turn, which compiles, does
not count, but with --repeats 1 that of the peers does. nucleipel is `segment` with all outputs;
the peers write a label map.

Each peer has a virtual environment of its own below --environments, made at the first use with
the versions of `REQUIREMENTS`. `peers/run_*.py` say what is run of each, and with which weights. A
peer that cannot be installed, or fails, has a row with the reason.

The table: seconds of the clock and of the CPU (user and system, all processes), the median of the
turns, and the greatest memory (PSS of all processes, sampled twice a second; Linux).
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # also where another script runs this one

from slides.command import START_PX, THREADS, peak_mb
from slides.tables import show

HERE = Path(__file__).resolve().parent
REQUIREMENTS = {
    "stardist": ("stardist==0.9.2", "tensorflow-cpu<2.20"),
    "instanseg": ("instanseg-torch==0.1.2", "pandas", "seaborn"),
    "cellpose": ("cellpose==4.2.1.1",),
}
READERS = ("scikit-image", "tifffile", "imagecodecs")
SPARSE_PX, SPARSE_SHARE = 12_000, 0.03


class PeerError(Exception):
    """Why a peer has no figures."""


@dataclass
class Program:
    """A program under test, and what its turns took: (wall s, CPU s, peak MB) each.

    Each turn starts without the folder `out`: what is finished there would not be made again.
    """

    name: str
    command: list[str]
    out: Path
    turns: list[tuple[float, float, float]] = field(default_factory=list)
    nuclei: object = None
    remark: str = ""

    def take_turn(self, threads: int, *, counts: bool) -> None:
        """Run it once; what fails is the remark of its row, and ends its turns."""
        if self.command:
            shutil.rmtree(self.out, ignore_errors=True)
            self.out.mkdir()
            try:
                turn, lines = run(self.command, threads)
            except PeerError as error:
                self.command, self.remark = [], str(error)
                return
            if lines and lines[-1].startswith("{"):
                said = json.loads(lines[-1])
                self.nuclei, self.remark = said["nuclei"], said["remark"]
            if counts:
                self.turns.append(turn)

    def row(self) -> dict[str, object]:
        """Its line of the table."""
        middle = [statistics.median(part) for part in zip(*self.turns, strict=True)]
        wall, cpu, peak = middle or (None, None, None)
        return {
            "program": self.name,
            "wall s": wall,
            "CPU s": cpu,
            "peak MB": peak,
            "turns": len(self.turns),
            "nuclei": self.nuclei,
            "remark": self.remark,
        }


def main() -> None:
    """Read the command line, make images and environments, measure in turns, print."""
    options = _parser().parse_args()
    click.echo(f"{' '.join(['bench_peers.py', *sys.argv[1:]])}\n")
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        list(show(f"peers_{options.case}", _rows(options, Path(folder)), options.results))


def _rows(options: argparse.Namespace, scratch: Path) -> Iterator[dict[str, object]]:
    images = pictures_of(options, scratch)
    programs = [ours(images, scratch, options.checkpoint)]
    programs[0].take_turn(options.threads, counts=False)
    found = sorted((scratch / "nucleipel").glob("*/instances.ome.tif"))
    programs[0].nuclei = sum(
        json.loads((path.parent / "certificate.json").read_text())["map"]["nuclei"]
        for path in found
    )
    programs += [peer(name, images, found, scratch, options) for name in options.peers]
    if options.repeats > 1:
        for program in programs[1:]:
            program.take_turn(options.threads, counts=False)
    for _ in range(options.repeats):
        for program in programs:
            program.take_turn(options.threads, counts=True)
    yield from (program.row() for program in programs)


def ours(images: list[Path], scratch: Path, checkpoint: str) -> Program:
    """`nucleipel segment` with all outputs."""
    out = scratch / "nucleipel"
    command = [sys.executable, "-m", "nucleipel", "--quiet", "segment", *map(str, images)]
    command += ["--out", str(out), "--csv", "--checkpoint", checkpoint]
    return Program("nucleipel", command, out, remark="all outputs")


def peer(
    name: str, images: list[Path], nuclei: list[Path], scratch: Path, options: argparse.Namespace
) -> Program:
    """A peer in its environment, with what its script makes of known nuclei where it needs it."""
    script, out, maps = str(HERE / "peers" / f"run_{name}.py"), scratch / name, scratch / "maps"
    maps.mkdir(exist_ok=True)
    try:
        python = environment(options.environments / name, REQUIREMENTS[name])
        run([python, script, "prepare", str(maps), *map(str, nuclei)], options.threads)
    except PeerError as error:
        return Program(name, [], out, remark=str(error))
    return Program(name, [python, script, "run", str(out), str(maps), *map(str, images)], out)


def environment(folder: Path, requirements: tuple[str, ...]) -> str:
    """The Python of an environment that has the requirements; made at the first use."""
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.is_file():
        venv.create(folder, with_pip=True, clear=True)
        run([str(python), "-m", "pip", "install", "--quiet", *requirements, *READERS], 0)
        complete.touch()
    return str(python)


def run(command: list[str], threads: int) -> tuple[tuple[float, float, float], list[str]]:
    """Run a command: its wall and CPU seconds, its memory in MB, and the lines that it printed.

    With 0 `threads` its libraries choose.

    Raises
    ------
    PeerError
        If it fails, with its last line.
    """
    environment = {**os.environ, **(dict.fromkeys(THREADS, str(threads)) if threads else {})}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(  # noqa: S603
            command, env=environment, stdout=printed, stderr=log, start_new_session=True
        )
        peak = peak_mb(process)
        wall = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        texts = []
        for stream in (printed, log):
            stream.seek(0)
            texts.append([line for line in stream.read().splitlines() if line.strip()])
    if process.returncode:
        raise PeerError(
            f"exit code {process.returncode}: {(texts[1] or texts[0] or [''])[-1][:160]}"
        )
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (wall, cpu, peak), texts[0]


def pictures_of(options: argparse.Namespace, scratch: Path) -> list[Path]:
    """The images of a case that every program reads: those of the command line as TIFF, or made."""
    from PIL import Image

    from nucleipel.data.synthetic import build_scene

    if options.images:
        return [_as_tiff(path, scratch) for path in options.images]
    if options.case == "start":
        path = scratch / "start.png"
        Image.fromarray(build_scene((START_PX, START_PX), seed=0, glass=False).image).save(path)
        return [path]
    if options.case == "sparse":
        from slides.pieces import generated, write

        piece = generated("h&e", round(SPARSE_SHARE**0.5 * SPARSE_PX))
        slide = piece.on_slide((SPARSE_PX,) * 2, (SPARSE_PX // 3,) * 2)
        return [_as_tiff(write(slide, scratch, "pyramid", piece.mpp), scratch)]
    raise SystemExit(f"{options.case}: name the images with --images")


def _as_tiff(path: Path, scratch: Path) -> Path:
    """Level 0 as a plain TIFF of RGB, which all programs read."""
    from tifffile import imwrite

    from nucleipel.core.geometry import Box
    from nucleipel.io.slides.slide import image_stem, open_slide

    with open_slide(path) as slide:
        pixels = slide.read(Box.of_shape(slide.shape))
    target = scratch / f"{image_stem(path)}.tif"
    imwrite(target, pixels.repeat(4 - pixels.shape[-1], axis=-1)[..., :3], photometric="rgb")
    return target


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", choices=("start", "small", "slide", "sparse"))
    parser.add_argument("--images", nargs="+", type=Path, default=[])
    parser.add_argument("--peers", nargs="*", choices=REQUIREMENTS, default=list(REQUIREMENTS))
    parser.add_argument("--environments", type=Path, default=Path("peer_environments"))
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each library")
    parser.add_argument("--repeats", type=int, default=3, help="turns that count")
    parser.add_argument("--scratch", type=Path, help="folder for images and outputs")
    parser.add_argument("--results", type=Path, help="folder for the table as CSV")
    return parser


if __name__ == "__main__":
    main()
