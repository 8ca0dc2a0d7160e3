"""Percentiles and ranges that a user sets reach the network, the records and `info`."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from support.command_line import refusal
from support.untrained import small_network, write_untrained

from nucleipel.config import InfoConfig, SegmentConfig
from nucleipel.config.load import load_config
from nucleipel.core.intensity import IntensityRange
from nucleipel.errors import ConfigError
from nucleipel.io.manifest import manifest_of_images
from nucleipel.stages.files.info import info
from nucleipel.stages.pipeline.reader_settings import build_slide_reader
from nucleipel.stages.pipeline.segment import segment


@pytest.fixture
def image(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    pixels = draw.integers(100, 3000, (64, 64), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    return tmp_path / "a.tif"


def test_a_range_of_the_user_is_that_of_every_image(image: Path) -> None:
    config = InfoConfig(intensity_range=((50, 4000),))
    with build_slide_reader(config, at_mpp=None, channels=3).open(image, mpp=None) as slide:
        assert slide.intensity_range() == IntensityRange((50,), (4000,))
    assert info(image, config)["intensity"] == "50 to 4000 (settings)"
    told = info(image, InfoConfig())["intensity"]
    assert "percentiles 1 and 99.8 of tissue" in told
    wide = info(image, InfoConfig(percentiles=(0, 100)))["intensity"]
    assert "percentiles 0 and 100 of tissue" in wide
    assert wide != told


def test_the_certificate_says_which_range_it_was(image: Path, tmp_path: Path) -> None:
    write_untrained(tmp_path / "run", small_network(block_px=2), mpp=None, core_px=64)
    config = SegmentConfig(device="cpu", threads=1, intensity_range=((50, 4000),))
    segment(tmp_path / "run", manifest_of_images([image]), tmp_path / "out", config)
    certificate = json.loads((tmp_path / "out" / "a" / "certificate.json").read_text())
    assert certificate["intensity"] == {"low": [50.0], "high": [4000.0], "from": "settings"}


def test_ranges_that_do_not_fit_are_refused(image: Path, tmp_path: Path) -> None:
    two = ["--set", "intensity_range=[[0,255],[0,255]]"]
    told = refusal("segment", image, *two, "--out", tmp_path / "o", untouched=tmp_path / "o")
    assert "intensity_range holds 2 channels, the image 1; give one pair" in told
    for setting in ("intensity_range=[[255,0]]", "percentiles=[99,1]"):
        with pytest.raises(ConfigError, match="is not below"):
            load_config(SegmentConfig, assignments=[setting])
