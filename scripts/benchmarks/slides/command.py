"""`nucleipel segment` as a user starts it, with its seconds, its memory and what it wrote."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
SAMPLE_SECONDS = 0.5
PHASES = ("read", "predict", "stitch", "write")
START_PX = 256


@dataclass(frozen=True)
class Run:
    """One command that has ended: exit code, its last lines, seconds, the folder of its nuclei."""

    exit_code: int
    log: str
    seconds: float
    peak_mb: float
    folder: Path

    @cached_property
    def certificate(self) -> dict[str, Any]:
        """The certificate of the result."""
        return dict(json.loads((self.folder / "certificate.json").read_text()))

    @property
    def nuclei(self) -> int:
        """Number of nuclei in the result."""
        return int(self.certificate["map"]["nuclei"])

    @property
    def tissue(self) -> dict[str, Any]:
        """The log's line on the tissue mask."""
        return dict(self.certificate["tissue"])

    @property
    def skipped_percent(self) -> float:
        """Share of the slide's pixels that were not predicted."""
        return float(self.tissue["skipped_percent"])

    @property
    def phases(self) -> dict[str, float]:
        """Seconds of each phase, as the command's last line has them."""
        found = (re.search(rf"\b{phase} ([\d.]+) s", self.log) for phase in PHASES)
        return {
            phase: float(match[1]) if match else 0.0
            for phase, match in zip(PHASES, found, strict=True)
        }

    @property
    def idle_percent(self) -> float:
        """Share of the network's time in which it had nothing to do."""
        match = re.search(r"idle (\d+) %", self.log)
        return float(match[1]) if match else 0.0

    def centers(self) -> npt.NDArray[np.float64]:
        """Center (y, x) of each nucleus in pixels of the slide, (n, 2)."""
        from pyarrow.parquet import read_table

        table = read_table(
            self.folder / "nuclei.parquet", columns=["centroid_y_px", "centroid_x_px"]
        )
        return np.stack([column.to_numpy() for column in table.columns], axis=1)


@dataclass(frozen=True)
class Command:
    """Starts `segment` with the same options each time, one process after the other."""

    checkpoint: str
    device: str
    threads: int
    options: tuple[str, ...]
    scratch: Path

    def segment(self, slide: Path, *options: str, may_fail: bool = False) -> Run:
        """Segment a slide; its output lies in the scratch folder until the next run of it.

        Exits with the command's own message if it fails, unless it `may_fail`.
        """
        name = slide.name.removesuffix(".ome.tif").removesuffix(slide.suffix)
        out = self.scratch / f"nuclei-{name}"
        shutil.rmtree(out, ignore_errors=True)
        command = [sys.executable, "-m", "nucleipel", "segment", str(slide), "--out", str(out)]
        command += ["--checkpoint", self.checkpoint, "--device", self.device]
        command += [*self.options, *options]
        environment = {**os.environ, **dict.fromkeys(THREADS, str(self.threads))}
        with tempfile.TemporaryFile("w+") as log:
            started = time.perf_counter()
            process = subprocess.Popen(  # noqa: S603
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
            peak = peak_mb(process)
            seconds = time.perf_counter() - started
            log.seek(0)
            lines = log.read()
        if process.returncode and not may_fail:
            sys.exit(f"{slide}: {' '.join(command)} failed:\n{lines}")
        folders = [entry for entry in out.glob("*") if entry.is_dir()] or [out]
        return Run(process.returncode, lines, seconds, peak, folders[0])

    @cached_property
    def start_seconds(self) -> float:
        """Seconds of a run on a small image: imports, the checkpoint, compiled code.

        The first such run may compile; the second counts.
        """
        from nucleipel.data.synthetic import build_scene
        from nucleipel.io.slides.write_slide import write_slide

        small = self.scratch / "start.ome.tif"
        scene = build_scene((START_PX, START_PX), seed=0, glass=False)
        write_slide(small, scene.image, mpp=0.5)
        self.segment(small)
        return self.segment(small).seconds


def peak_mb(process: subprocess.Popen[bytes]) -> float:
    """Until it ends: the greatest memory (PSS; Linux) of the process and all that it started."""
    peak = 0
    while True:
        peak = max(peak, sum(map(_pss_kb, _session(process.pid))))
        try:
            process.wait(SAMPLE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
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
