"""A plan counts what the stages will make, is close to what they take, and leaves no files."""

import json
import shutil
import tempfile
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from PIL import Image
from support.command_line import refusal
from support.darkness import Darkness, in_place_of_any
from support.untrained import small_network, write_untrained

from nucleipel.cli import cli
from nucleipel.core import machine
from nucleipel.data.synthetic import BrightGround, Islands, SyntheticSlide, build_tissue
from nucleipel.io.slides.write_pyramid import write_pyramid
from nucleipel.io.stores.patches import open_patch_store

pytestmark = pytest.mark.slow

TILE = ["--set", "tile.patch_px=32", "--set", "tile.overlap_px=8", "--set", "tile.mpp=0.5"]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files lie: nothing may be left there."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.iterdir()), "nothing is left behind"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cores of 64 px, so that a slide has hundreds and not thousands."""
    folder = tmp_path_factory.mktemp("checkpoint")
    network = small_network(block_px=2)
    return write_untrained(folder, network, core_px=64, instances={"min_area_px": 1})


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> Darkness:
    """In place of that of any checkpoint."""
    return in_place_of_any(monkeypatch, "plan.plan", "pipeline.predict")


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Islands on glass, large enough for a tissue mask."""
    path = tmp_path_factory.mktemp("slide") / "islands.ome.tif"
    shape = (600, 2304)
    tissue = build_tissue("h&e", side_px=512)
    made = SyntheticSlide(shape, BrightGround(), tissue=tissue, layout=Islands(0.2), seed=3)
    write_pyramid(path, shape, made.read, mpp=0.5, repeats=made.repeats)
    return path


def _plan(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(cli, ["-q", "plan", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    plan: dict[str, Any] = json.loads(result.stdout)
    plan["of"] = {need["stage"]: need for need in (*plan["stages"], plan["segment"])}
    return plan


def _run(*arguments: object) -> None:
    result = CliRunner().invoke(cli, ["-q", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def _require_near(estimate: float, truth: float) -> None:
    assert truth / 2 <= estimate <= truth * 2, f"{estimate / truth:.2f} times {truth}"


def test_patches_and_disk_of_tile(tiny_set, checkpoint: Path, tmp_path: Path) -> None:
    plan = _plan("--manifest", tiny_set.manifest, "--checkpoint", checkpoint, *TILE)
    out = tmp_path / "patches.zarr"
    settings = [part.replace("tile.", "") for part in TILE]
    _run("tile", "--manifest", tiny_set.manifest, "--out", out, *settings)
    assert plan["of"]["tile"]["patches"] == len(open_patch_store(out).rows) > 50
    _require_near(plan["of"]["tile"]["disk_bytes"], machine.bytes_below(out))


def test_patches_of_an_image_made_by_hand(checkpoint: Path, tmp_path: Path) -> None:
    Image.new("RGB", (130, 64), (200, 100, 150)).save(tmp_path / "a.png")
    Image.fromarray(np.ones((64, 130), np.uint16)).save(tmp_path / "l.png")
    manifest = tmp_path / "m.csv"
    manifest.write_text("image,label,split,source_id,mpp\na.png,l.png,train,s,0.5\n")
    plan = _plan("--manifest", manifest, "--checkpoint", checkpoint, *TILE)
    # 32 px each with 8 px shared: starts at 0, 24 and 32; and at 0, 24, 48, 72, 96 and 98
    assert plan["of"]["tile"]["patches"] == 3 * 6
    # cores of 64 px: one row, the third one is 2 px wide
    assert plan["of"]["predict"]["patches"] == 3
    assert plan["sampled_windows"] == 3


def test_a_split_without_labels_has_no_tiles(tiny_set, checkpoint: Path) -> None:
    plan = _plan("--manifest", tiny_set.manifest, "--split", "test", "--checkpoint", checkpoint)
    assert [need["stage"] for need in plan["stages"]] == ["predict", "stitch"]
    assert [image["id"] for image in plan["images"]] == ["test"]


def test_disk_of_whole_images(tiny_set, checkpoint: Path, tmp_path: Path) -> None:
    manifest = ["--manifest", tiny_set.manifest, "--checkpoint", checkpoint]
    plan = _plan(*manifest)
    _run("predict", *manifest, "--out", tmp_path / "maps.zarr")
    _run("stitch", "--predictions", tmp_path / "maps.zarr", "--out", tmp_path / "out")
    for stage, folder in (("predict", "maps.zarr"), ("stitch", "out")):
        truth = machine.bytes_below(tmp_path / folder)
        _require_near(plan["of"][stage]["disk_bytes"], truth)


def test_windows_and_disk_of_a_slide_with_glass(
    slide: Path, checkpoint: Path, network: Darkness, tmp_path: Path
) -> None:
    arguments = [slide, "--checkpoint", checkpoint, "--csv"]
    plan = _plan(*arguments)
    out, before = tmp_path / "out", network.windows
    _run("segment", *arguments, "--out", out, "--set", "keep_predictions=true")
    message = json.loads((out / "predictions.zarr" / "islands" / "image.json").read_text())[
        "tissue"
    ]
    image = plan["images"][0]
    assert image["cores"] == message["cores"]
    assert image["cores"] - image["windows"] == message["skipped_cores"] > 0
    assert plan["of"]["segment"]["patches"] == image["windows"] == network.windows - before
    assert plan["sampled_windows"] < image["windows"] / 4
    _require_near(image["map_bytes"], machine.bytes_below(out / "predictions.zarr"))
    _require_near(image["instance_bytes"], machine.bytes_below(out / "islands"))
    nuclei = json.loads((out / "islands" / "certificate.json").read_text())["nuclei"]
    _require_near(image["nuclei"], nuclei)


@pytest.mark.parametrize("options", [[], ["--map-frame", "working"]])
def test_disk_at_a_coarser_working_mpp(
    slide: Path, checkpoint: Path, tmp_path: Path, options: list[str]
) -> None:
    arguments = [slide, "--checkpoint", checkpoint, "--at-mpp", 1.0, "--tissue", "off", *options]
    image = _plan(*arguments)["images"][0]
    _run("segment", *arguments, "--out", tmp_path / "out")
    _require_near(image["instance_bytes"], machine.bytes_below(tmp_path / "out" / "islands"))


def test_one_channel_of_two(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.ome.tif"
    pixels = np.full((2, 300, 400), 3000, np.uint16)
    pixels[1, 40:60, 100:300:25] = pixels[1, 200:220, 10:390:25] = 10
    tifffile.imwrite(path, pixels, ome=True, metadata={"axes": "CYX"})
    arguments = [path, "--mpp", 0.5, "--channel", 1, "--checkpoint", checkpoint]
    image = _plan(*arguments)["images"][0]
    _run("segment", *arguments, "--out", tmp_path / "out")
    _require_near(image["instance_bytes"], machine.bytes_below(tmp_path / "out" / "two"))


def test_the_requested_outputs_count(slide: Path, checkpoint: Path) -> None:
    plain = _plan(slide, "--checkpoint", checkpoint)["images"][0]
    lean = _plan(slide, "--checkpoint", checkpoint, "--geojson", "none")["images"][0]
    every = _plan(slide, "--checkpoint", checkpoint, "--tissue", "off")["images"][0]
    assert lean["instance_bytes"] < 0.8 * plain["instance_bytes"]
    assert every["windows"] == every["cores"] > plain["windows"]


def test_all_glass(checkpoint: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    Image.new("L", (600, 150)).save(mask)
    Image.new("RGB", (600, 150), (244, 243, 245)).save(tmp_path / "a.png")
    plan = _plan(tmp_path / "a.png", "--mpp", 0.5, "--checkpoint", checkpoint, "--tissue", mask)
    assert plan["of"]["predict"]["patches"] == plan["images"][0]["nuclei"] == 0
    assert plan["of"]["stitch"]["disk_bytes"] > 0


def test_the_table(tiny_set, checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["plan", "--manifest", tiny_set.manifest, "--checkpoint", checkpoint, *TILE]
    arguments += ["--out", tmp_path / "new" / "out", "--by-image"]
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[:5]] == [
        "stage", "tile", "predict", "stitch", "total",
    ]  # fmt: skip
    assert f"({tmp_path.resolve()})" in result.stdout
    assert [line.split()[0] for line in lines[-3:]] == ["train", "val", "test"]
    assert not (tmp_path / "new").exists()


def test_a_disk_that_is_too_small(
    tiny_set, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 9 * 10**5, 10**5))
    out = tmp_path / "new" / "out"
    arguments = ["plan", tiny_set.image("test"), "--checkpoint", checkpoint]
    message = refusal(*arguments, "--out", out, untouched=tmp_path / "new")
    assert message.startswith(f"{tmp_path.resolve()}: 97.7 kB are free on its disk, about")
    assert "give another --out" in message
    _plan(*arguments[1:])  # without an --out nothing is known of its disk


def test_a_memory_that_is_too_small(
    tiny_set, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["plan", tiny_set.image("test"), "--checkpoint", checkpoint]
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")
    message = refusal(*arguments)
    assert message.startswith("the Slurm job's memory is 100 MB, ")
    assert "needs about" in message
    assert "needs about" in refusal(*arguments, "--max-ram", 0.42, "--threads", 1)
    assert "threads need at least" in refusal(*arguments, "--max-ram", 0.1)


def test_images_that_cannot_be_used(tiny_set, checkpoint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    Image.fromarray(np.arange(90000, dtype=np.uint8).reshape(100, 300, 3)).save(broken)
    broken.write_bytes(broken.read_bytes()[:-2000])
    message = refusal("plan", broken, tiny_set.image("test"), "--checkpoint", checkpoint)
    assert message.startswith(f"{broken}: ")
    whole = tmp_path / "no_mpp.png"
    Image.new("RGB", (64, 64)).save(whole)
    assert f"{whole}: its mpp is in" in refusal("plan", whole, "--checkpoint", checkpoint)
    assert "no such checkpoint" in refusal("plan", whole, "--checkpoint", tmp_path / "none")
    assert "name images, or give a --manifest" in refusal("plan")


def test_unknown_settings(tiny_set) -> None:
    message = refusal("plan", tiny_set.image("test"), "--set", "tile.patchpx=3")
    assert message == "--set: unknown key 'tile.patchpx'; did you mean 'tile.patch_px'?"
