"""predict, stitch and segment log at the end where their time went."""

import logging
import re
from pathlib import Path

import pytest

from nucleipel.config import PredictConfig, SegmentConfig, StitchConfig
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.io.manifest import manifest_of_images
from nucleipel.stages.pipeline.predict import predict
from nucleipel.stages.pipeline.segment import segment
from nucleipel.stages.pipeline.stitch import stitch

pytestmark = pytest.mark.slow

SPLIT = re.compile(
    r"(?P<split>(?:\w+ [\d.]+ s(?:, )?)+) in (?P<elapsed>[\d.]+) s"
    r"(?:, [\d.]+ s of them in a second process)?"
    r"(?:; network idle (?P<idle>\d+) % of [\d.]+ s)?; (?P<mpx>\S+) Mpx, \S+ Mpx/s, \S+ mm2/s"
)


def _logged(caplog: pytest.LogCaptureFixture) -> list[re.Match[str]]:
    found = [match for text in caplog.messages if (match := SPLIT.fullmatch(text))]
    caplog.clear()
    return found


def _phases(message: re.Match[str]) -> list[str]:
    return re.findall(r"[a-z]+(?= [\d.]+ s)", message["split"])


def test_each_command_logs_its_phases(
    tiny_set,
    random_checkpoint: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a command that ran in this process before keeps its messages to itself
    logger = logging.getLogger("nucleipel")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "handlers", [])  # pytest listens to one that kept them, too
    caplog.set_level(logging.INFO, logger="nucleipel")
    rows = manifest_of_images([tiny_set.image("val"), tiny_set.image("test")])
    pixels = 128 * 128 + 100 * 170
    maps = tmp_path / "maps.zarr"
    for _ in range(2):  # the second time nothing is left to do, and nothing is logged
        predict(random_checkpoint, rows, maps, PredictConfig(device="cpu"))
    (message,) = _logged(caplog)
    assert _phases(message) == ["read", "predict", "write"]
    assert message["idle"] is not None
    assert float(message["mpx"]) == pytest.approx(pixels / 1e6, rel=0.01)

    stitch(maps, tmp_path / "instances", StitchConfig())
    (message,) = _logged(caplog)
    assert _phases(message) == ["read", "stitch", "write"]
    assert message["idle"] is None

    clock = Stopwatch()
    segment(random_checkpoint, rows, tmp_path / "out", SegmentConfig(device="cpu"), clock=clock)
    elapsed = clock.elapsed
    (message,) = _logged(caplog)
    assert _phases(message) == list(clock.seconds) == ["read", "predict", "stitch", "write"]
    assert clock.mpx * 1e6 == pixels, "an image is counted once"
    assert clock.mm2 == pytest.approx(pixels * 0.25 / 1e6)
    seconds = clock.seconds
    assert seconds["predict"] + seconds["stitch"] < elapsed, "both in the main thread"
    assert min(seconds.values()) > 0
    assert clock.network_seconds < elapsed - seconds["stitch"], "the network's time ends before"
