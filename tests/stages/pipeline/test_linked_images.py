"""Images that are links into a store of data (DVC, Galaxy, model hubs) go through every stage."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.command_line import accepted, refusal

from nucleipel.cli import cli
from nucleipel.config import SegmentConfig
from nucleipel.io.manifest import manifest_of_images
from nucleipel.stages.pipeline.segment import segment


@pytest.fixture
def linked(tiny_set, tmp_path: Path) -> Path:
    """A link with a name, to a file of the store that has a hash for its name."""
    store = tmp_path / "store" / "9e"
    store.mkdir(parents=True)
    (tmp_path / "data").mkdir()
    shutil.copy(tiny_set.image("test"), store / "107d9d372bb6826bd81d3542a419d6")
    link = tmp_path / "data" / "slide.ome.tif"
    link.symlink_to("../store/9e/107d9d372bb6826bd81d3542a419d6")
    return link


def _predict(images: Path, checkpoint: Path, out: Path) -> Path:
    accepted("predict", "--checkpoint", checkpoint, images, "--out", out, "--device", "cpu")
    return out


def test_a_link_is_predicted_and_stitched_by_its_own_name(
    linked: Path, random_checkpoint: Path, tiny_set, tmp_path: Path
) -> None:
    store = _predict(linked, random_checkpoint, tmp_path / "maps.zarr")
    out = tmp_path / "out"
    accepted("stitch", "--predictions", store, "--out", out)
    record = json.loads((out / "slide" / "certificate.json").read_text())
    assert "107d9d37" not in json.dumps(record)
    plain = segment(
        random_checkpoint, manifest_of_images([tiny_set.image("test")]), tmp_path / "plain",
        SegmentConfig(device="cpu"),
    )  # fmt: skip
    same = (folder / "instances.ome.tif" for folder in (out / "slide", plain / "test"))
    assert len({file.read_bytes() for file in same}) == 1


def test_the_way_out_of_a_message_is_one(
    linked: Path, random_checkpoint: Path, tmp_path: Path
) -> None:
    store = _predict(linked, random_checkpoint, tmp_path / "maps.zarr")
    linked.unlink()
    message = refusal("stitch", "--predictions", store, "--out", tmp_path / "out")
    assert "--set intensities=false and another --out" in message
    options = ["--set", "intensities=false", "--out", str(tmp_path / "another")]
    result = CliRunner().invoke(cli, ["stitch", "--predictions", str(store), *options])
    assert result.exit_code == 0, result.output


def test_an_output_that_is_a_link(linked: Path, random_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "big disk" / "results").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "big disk" / "results")
    accepted("segment", linked, "--checkpoint", random_checkpoint, "--out", tmp_path / "out")
    accepted("verify", tmp_path / "out")
    assert (tmp_path / "big disk" / "results" / "slide" / "nuclei.parquet").is_file()
