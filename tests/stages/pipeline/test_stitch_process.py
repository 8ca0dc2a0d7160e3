"""Stitching in a second process changes no byte, and nothing hangs on that process."""

import json
import logging
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from nucleipel.config import SegmentConfig
from nucleipel.core.run_options import RunOptions
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.io.manifest import Manifest, read_manifest
from nucleipel.stages.pipeline import stitch_process
from nucleipel.stages.pipeline.segment import segment

pytestmark = pytest.mark.slow

CONFIG = SegmentConfig(device="cpu", threads=1, csv=True)
PIXELS = {"train": 160 * 224, "val": 128 * 128, "test": 100 * 170}


def _cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(stitch_process, "core_count", lambda: count)


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def rows(tiny_set) -> Manifest:
    return read_manifest(tiny_set.manifest)


@pytest.fixture(scope="module")
def alone(
    rows: Manifest, random_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """What one process writes."""
    with pytest.MonkeyPatch.context() as patched:
        _cores(patched, 1)
        clock = Stopwatch()
        out = tmp_path_factory.mktemp("alone") / "out"
        segment(random_checkpoint, rows, out, CONFIG, clock=clock)
    assert clock.second_process_seconds == 0
    return _contents(out)


def _listen(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("nucleipel")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "handlers", [])
    caplog.set_level(logging.INFO, logger="nucleipel")


def test_the_bytes_are_those_of_one_process(
    rows, alone, random_checkpoint: Path, tmp_path: Path, monkeypatch, caplog
) -> None:
    _cores(monkeypatch, 2)
    _listen(caplog, monkeypatch)
    clock = Stopwatch()
    segment(random_checkpoint, rows, tmp_path / "out", CONFIG, clock=clock)
    assert _contents(tmp_path / "out") == alone
    found = [text.split(":")[0] for text in caplog.messages if text.endswith(" nuclei")]
    assert sorted(found) == sorted(PIXELS), "logged once each, by this process"
    assert list(clock.seconds) == ["read", "predict", "stitch", "write"]
    assert clock.mpx * 1e6 == sum(PIXELS.values()), "each image counts once"
    stitched = clock.seconds["stitch"]
    assert stitched < clock.second_process_seconds < sum(clock.seconds.values()), (
        "all of it, and more, beside"
    )
    assert (
        f"{clock.second_process_seconds:.1f} s of them in a second process" in caplog.messages[-1]
    )


def test_a_bad_slide_is_set_aside(
    alone, random_checkpoint: Path, tiny_set, tmp_path: Path, monkeypatch
) -> None:
    _cores(monkeypatch, 2)
    shutil.copytree(tiny_set.folder, tmp_path / "set")
    path = tmp_path / "set" / "val.ome.tif"
    path.write_bytes(path.read_bytes()[:1000])
    rows = read_manifest(tmp_path / "set" / "manifest.csv", needed=())
    out, clock = tmp_path / "out", Stopwatch()
    segment(
        random_checkpoint, rows, out, CONFIG, options=RunOptions(allow_missing=True), clock=clock
    )
    assert clock.second_process_seconds > 0
    assert clock.mpx * 1e6 == PIXELS["train"] + PIXELS["test"]
    assert json.loads((out / "nucleipel.json").read_text())["missing"] == ["val"]
    assert not list(out.glob("val*"))
    ours = _contents(out)
    for image in ("train", "test"):
        names = [name for name in alone if name.startswith(f"{image}/")]
        names.remove(f"{image}/report.html")  # it names the image, which lies elsewhere here
        assert {name: ours[name] for name in names} == {name: alone[name] for name in names}


@pytest.mark.parametrize("fate", ["ends at once", "is killed at work"])
def test_a_process_that_is_lost_costs_time_only(
    rows, alone, random_checkpoint: Path, tmp_path: Path, monkeypatch, caplog, fate: str
) -> None:
    _cores(monkeypatch, 2)
    _listen(caplog, monkeypatch)
    give = stitch_process._StitchProcess.give
    code = {"ends at once": "exit code 3", "is killed at work": "exit code -9"}[fate]
    if fate == "ends at once":
        monkeypatch.setattr(stitch_process, "_COMMAND", "raise SystemExit(3)")
    else:

        def killed(self: stitch_process._StitchProcess, image_id: str) -> None:
            give(self, image_id)
            os.kill(self._process.pid, signal.SIGKILL)

        monkeypatch.setattr(stitch_process._StitchProcess, "give", killed)
    segment(random_checkpoint, rows, tmp_path / "out", CONFIG)
    assert _contents(tmp_path / "out") == alone
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 1
    assert code in warned[0]


def test_where_no_process_can_be_had_there_is_none(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python"))
    assert stitch_process._start() is None


def test_none_is_started_where_all_is_done(
    rows, alone, random_checkpoint: Path, tmp_path: Path, monkeypatch
) -> None:
    for name, content in alone.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    _cores(monkeypatch, 2)
    monkeypatch.setattr(stitch_process, "Popen", None)
    segment(random_checkpoint, rows, tmp_path, CONFIG)
    assert _contents(tmp_path) == alone
