"""`info`, `import`, and the options of reading images, on the command line."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from PIL import Image
from support.command_line import refusal
from support.slide_files import halves, write_ome, write_svs
from support.untrained import small_network, write_untrained

from nucleipel.cli import cli
from nucleipel.io.slides.slide import read_annotation
from nucleipel.io.slides.write_slide import write_slide
from nucleipel.io.stores.predictions import open_predictions

NOISE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


def _ok(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def _table(text: str) -> dict[str, str]:
    """What `info` says of one file, by name."""
    return dict(line.split(maxsplit=1) for line in text.splitlines()[1:])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was never trained, of three channels at 0.5 um per pixel."""
    folder = tmp_path_factory.mktemp("checkpoint") / "run"
    return write_untrained(folder, small_network(block_px=2), core_px=64)


# --- info --------------------------------------------------------------------------------------


def test_info_of_a_slide(checkpoint: Path, tmp_path: Path) -> None:
    path = write_svs(tmp_path / "a.svs", halves(NOISE, 2), mpp=0.25, compression="jpeg")
    text = _ok("info", path)
    assert text.splitlines()[0] == str(path)
    message = _table(text)
    assert message["format"] == "Aperio SVS, JPEG, tiles of 64 x 64 px"
    assert message["size"] == "120 x 160 px (height x width)"
    assert message["levels"] == "0: 120 x 160 (1/1), 1: 60 x 80 (1/2)"
    assert message["mpp"] == "0.25 (Aperio text)"
    assert message["channels"] == "0 (red), 1 (green), 2 (blue)"
    assert message["pixels"] == "uint8, RGB"
    assert message["use"] == "level 0 read pixel for pixel at 0.25 um: 120 x 160 px"
    assert _table(_ok("info", path, "--checkpoint", checkpoint))["use"] == (
        "level 1 read pixel for pixel at 0.5 um: 60 x 80 px"
    )
    assert _table(_ok("info", path, "--at-mpp", "0.4"))["use"] == (
        "level 0 averaged down 1.6x to 0.4 um: 75 x 100 px"
    )
    assert "--enlarge" in _table(_ok("info", path, "--at-mpp", "0.2"))["use"]
    assert _table(_ok("info", path, "--at-mpp", "0.2", "--enlarge"))["use"] == (
        "level 0 enlarged 1.25x to 0.2 um: 150 x 200 px"
    )
    assert _table(_ok("info", path, "--mpp", "0.3"))["use"].startswith("refused: the manifest or")


def test_info_of_an_image_that_knows_no_mpp(checkpoint: Path, tmp_path: Path) -> None:
    Image.fromarray(NOISE[..., 0]).save(tmp_path / "a.png")
    message = _table(_ok("info", tmp_path / "a.png"))
    assert message["mpp"] == "not in the file; give it with --mpp or in a manifest"
    assert message["use"].endswith("120 x 160 px, gray repeated to 3 channels")
    message = _table(_ok("info", tmp_path / "a.png", "--checkpoint", checkpoint))
    assert message["use"].startswith("refused: its mpp is in neither file nor manifest")
    shown = _ok("info", tmp_path / "a.png", "--checkpoint", checkpoint, "--mpp", "0.5")
    assert _table(shown)["mpp"].startswith("0.5 (given)")
    assert not _table(shown)["use"].startswith("refused")


def test_info_prints_what_it_can_and_ends_with_the_faults(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    result = CliRunner().invoke(cli, ["info", *(str(tmp_path / f"{n}.png") for n in "bac")])
    assert result.exit_code == 1
    assert str(tmp_path / "a.png") in result.stdout
    assert result.stderr.startswith(f"error: {tmp_path / 'b.png'}: is empty")
    assert f"{tmp_path / 'c.png'}: no such file" in result.stderr
    assert len(result.stderr.splitlines()) == 1


# --- import ------------------------------------------------------------------------------------


def _paired(folder: Path) -> Path:
    for name in ("pictures", "made/labels"):
        (folder / name).mkdir(parents=True)
    Image.fromarray(NOISE).save(folder / "pictures" / "a.png")
    ids = np.zeros(NOISE.shape[:2], np.uint8)
    ids[10:20, 10:30], ids[50:60, 40:44] = 9, 4
    Image.fromarray(ids).save(folder / "made" / "labels" / "a.png")
    return folder / "made"


def test_import_writes_labels_and_a_manifest(tmp_path: Path) -> None:
    source, out = _paired(tmp_path), tmp_path / "out"
    options = ["--images", tmp_path / "pictures", "--mpp", "0.25", "--split", "train"]
    message = _ok("import", "labels", source, "--out", out, *options)
    assert message == f"{out / 'manifest.csv'}\n"
    with (out / "manifest.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert row == {
        "image": "../pictures/a.png", "label": "labels/a.tif", "split": "train",
        "source_id": "a", "mpp": "0.25", "id": "a",
    }  # fmt: skip
    ids = read_annotation(out / "labels" / "a.tif")
    assert ids.dtype == np.uint16
    assert np.unique(ids, return_counts=True)[1].tolist() == [120 * 160 - 240, 200, 40]
    patches = ["tile", "--manifest", message.strip(), "--out", tmp_path / "patches.zarr"]
    assert _ok(*patches, "--set", "splits=[train]")
    before = (out / "manifest.csv").stat().st_mtime_ns
    assert _ok("import", "labels", source, "--out", out, *options) == message
    assert (out / "manifest.csv").stat().st_mtime_ns == before
    assert "holds another run (config.mpp 0.25 there, None now" in refusal(
        "import", "labels", source, "--out", out, "--images", tmp_path / "pictures",
        "--split", "train",
    )  # fmt: skip


def test_import_names_its_formats(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["import", "yolo", str(tmp_path), "--out", "x"])
    assert result.exit_code == 2
    assert "'dsb2018', 'monuseg', 'qupath'" in result.stderr


# --- mpp, at-mpp, channel, enlarge -------------------------------------------------------------


def _map(checkpoint: Path, image: Path, out: Path, *options: object) -> np.ndarray:
    _ok("predict", image, "--checkpoint", checkpoint, "--out", out, "--device", "cpu", *options)
    return open_predictions(out).images[0].read_map()


def test_mpp_of_the_source_and_of_the_work(checkpoint: Path, tmp_path: Path) -> None:
    """Twice the pixels at half the mpp are the same image: the same map, to the bit."""
    fine = NOISE.repeat(2, axis=0).repeat(2, axis=1)
    write_slide(tmp_path / "a.ome.tif", NOISE, mpp=0.5)
    write_slide(tmp_path / "fine.ome.tif", fine, mpp=0.25)
    Image.fromarray(fine).save(tmp_path / "fine.png")
    wanted = _map(checkpoint, tmp_path / "a.ome.tif", tmp_path / "1")
    assert wanted.shape == (4, 120, 160)
    assert wanted.std() > 0
    found = _map(checkpoint, tmp_path / "fine.ome.tif", tmp_path / "2")
    assert np.array_equal(found, wanted)
    found = _map(checkpoint, tmp_path / "fine.png", tmp_path / "3", "--mpp", "0.25")
    assert np.array_equal(found, wanted)
    at = _map(checkpoint, tmp_path / "fine.ome.tif", tmp_path / "4", "--at-mpp", "0.25")
    assert at.shape == (4, 240, 320)
    at = _map(checkpoint, tmp_path / "fine.ome.tif", tmp_path / "5", "--at-mpp", "0.8")
    assert at.shape == (4, 75, 100)
    message = refusal(
        "predict", tmp_path / "fine.ome.tif", "--checkpoint", checkpoint, "--out", tmp_path / "6",
        "--mpp", "0.5", untouched=tmp_path / "6",
    )  # fmt: skip
    assert re.search(r"--mpp says 0\.5 um per pixel, OME-XML says 0\.25", message)


def test_enlarging_needs_its_option(checkpoint: Path, tmp_path: Path) -> None:
    write_slide(tmp_path / "a.ome.tif", NOISE, mpp=0.8)
    message = refusal(
        "predict", tmp_path / "a.ome.tif", "--checkpoint", checkpoint, "--out", tmp_path / "1",
        untouched=tmp_path / "1",
    )  # fmt: skip
    assert message.endswith("it would have to be enlarged; ask for that with --enlarge")
    found = _map(checkpoint, tmp_path / "a.ome.tif", tmp_path / "1", "--enlarge")
    assert found.shape == (4, 192, 256)


@pytest.mark.parametrize("channel", ["1", "cd3"])
def test_one_channel_of_many(checkpoint: Path, tmp_path: Path, channel: str) -> None:
    planes = np.random.default_rng(1).integers(0, 4000, (4, 120, 160), np.uint16)
    names = ["DAPI", "CD3", "CD8", "PD-1"]
    write_ome(tmp_path / "a.ome.tif", [planes], axes="CYX", mpp=0.5, names=names)
    tifffile.imwrite(tmp_path / "one.tif", planes[1])
    message = refusal(
        "predict", tmp_path / "a.ome.tif", "--checkpoint", checkpoint, "--out", tmp_path / "1",
        untouched=tmp_path / "1",
    )  # fmt: skip
    assert "has 4 channels, the network takes 3; choose one with --channel: 0 (DAPI)" in message
    found = _map(checkpoint, tmp_path / "a.ome.tif", tmp_path / "1", "--channel", channel)
    alone = _map(checkpoint, tmp_path / "one.tif", tmp_path / "2", "--mpp", "0.5")
    assert np.array_equal(found, alone)
    message = refusal(
        "predict", tmp_path / "a.ome.tif", "--checkpoint", checkpoint, "--out", tmp_path / "3",
        "--channel", "CD4", untouched=tmp_path / "3",
    )  # fmt: skip
    assert "has no channel 'CD4'; it has 0 (DAPI), 1 (CD3)" in message
