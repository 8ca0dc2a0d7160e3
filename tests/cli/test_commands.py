"""Every command through click on a tiny set, and every mistake a user can make, in one line."""

import gzip
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import torch
from click.testing import CliRunner, Result
from support import ROOT

from nucleipel.cli import cli
from nucleipel.model.checkpoint import read_checkpoint

PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
TINY = [
    "device=cpu",
    "workers=0",
    "mpp=0.5",
    "window_px=64",
    "core_px=32",
    "windows_per_epoch=32",
    "epochs=4",
    "batch_size=4",
    "warmup_steps=4",
    "learning_rate=1e-2",
    "ema_decay=0.9",
    "network.features=[16,24]",
    "network.residual_units=1",
]


def _sets(*assignments: str) -> list[str]:
    return [part for assignment in assignments for part in ("--set", assignment)]


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def _ok(*arguments: object) -> Result:
    result = _run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def _refused(message: str, *arguments: object) -> None:
    """Exit code 1 and one line on stderr that holds `message`."""
    result = _run(*arguments)
    assert result.exit_code == 1, result.output
    printed = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(printed) == 1, result.stderr
    assert re.search(message, printed[0]), printed[0]
    assert result.stderr.rstrip().endswith(printed[0])
    assert "Usage" not in result.output
    assert "Traceback" not in result.output


@pytest.fixture(scope="module")
def ran(tiny_set, tmp_path_factory) -> Path:
    """A folder in which the commands ran one after another, in the order of work."""
    folder = tmp_path_factory.mktemp("cli")
    manifest = ["--manifest", tiny_set.manifest]
    _ok("train", *manifest, "--out", folder / "run", *_sets(*TINY))
    _ok(
        "-q",
        "tile",
        *manifest,
        "--out",
        folder / "patches.zarr",
        *_sets("mpp=0.5", "patch_px=64", "overlap_px=16"),
    )
    _ok(
        "-v", "finetune-patches",
        "--checkpoint", folder / "run",
        "--patches", folder / "patches.zarr",
        "--out", folder / "run2",
        "--device", "cpu",
        *_sets("workers=0", "epochs=1", "batch_size=4"),
    )  # fmt: skip
    maps = folder / "maps.zarr"
    _ok("predict", "--checkpoint", folder / "run2", *manifest, "--split", "test", "--out", maps)
    _ok("stitch", "--predictions", maps, "--out", folder / "instances")
    result = _ok(
        "evaluate", *manifest, "--split", "test", "--instances", folder / "instances",
        "--out", folder / "report.json",
    )  # fmt: skip
    assert "pooled over nuclei" in result.stdout
    assert "ap@0.50" in result.stdout
    return folder


def test_every_stage_runs_from_the_command_line(ran: Path) -> None:
    made = ["run/checkpoint.safetensors", "run2/checkpoint.json", "patches.zarr/patches.csv"]
    made += ["maps.zarr/test/image.json", "instances/test/nuclei.parquet", "report.csv"]
    assert all((ran / name).is_file() for name in made)


def test_segment_takes_images_one_by_one(ran: Path, tiny_set, tmp_path: Path) -> None:
    checkpoint = ran / "run2" / "checkpoint.safetensors"  # the file serves like the folder
    images = [tiny_set.image("test"), tiny_set.image("val")]
    result = _ok("segment", *images, "--checkpoint", checkpoint, "--out", tmp_path / "out")
    assert result.stdout.strip() == str(tmp_path / "out")
    for name in ("test", "val"):
        assert (tmp_path / "out" / name / "instances.ome.tif").is_file()
    theirs = (ran / "instances" / "test" / "nuclei.parquet").read_bytes()
    assert (tmp_path / "out" / "test" / "nuclei.parquet").read_bytes() == theirs


def test_csv_and_map_frame(ran: Path, tmp_path: Path) -> None:
    stitch = ["stitch", "--predictions", ran / "maps.zarr", "--out"]
    _ok(*stitch, tmp_path / "out", "--csv", "--geojson", "gz",
        "--map-frame", "working")  # fmt: skip
    lines = (tmp_path / "out" / "test" / "nuclei.csv").read_text().splitlines()
    table = pq.read_table(tmp_path / "out" / "test" / "nuclei.parquet")
    assert lines[0].split(",") == table.column_names[:-1]
    assert len(lines) == len(table) + 1
    config = (tmp_path / "out" / "config.yaml").read_text()
    assert "map_frame: working" in config
    with gzip.open(tmp_path / "out" / "test" / "nuclei.geojson.gz") as stream:
        assert len(json.load(stream)["features"]) == len(table)
    assert not (ran / "instances" / "test" / "nuclei.csv").exists()


@pytest.mark.slow
def test_export_writes_an_onnx_file_and_a_package(ran: Path, tmp_path: Path) -> None:
    onnx, package = tmp_path / "m.onnx", tmp_path / "m.zip"
    options = ["export", ran / "run2", "--onnx", onnx]
    _refused("a package says whose", *options, "--bioimageio", package)
    assert not onnx.exists()
    words = _sets("license=MIT", "authors=[Ada Lovelace]")
    assert _ok(*options, "--bioimageio", package, *words).stdout.split() == [
        str(onnx),
        str(package),
    ]
    assert zipfile.is_zipfile(package)
    _refused("is there already; choose another name or pass --overwrite", *options)
    nothing = _run("export", "default")
    assert nothing.exit_code == 2
    assert "give --onnx FILE, --bioimageio FILE.zip or both; or --to PROGRAM" in nothing.stderr


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_help_and_pages_know_every_command(command: str) -> None:
    result = _ok(command, "--help")
    # a profile holds the settings of all stages; average and verify have nothing to set
    special = {"submit": ("--profile",), "verify": ("--repair",), "average": ("--overwrite",)}
    wanted = special.get(command, ("--config", "--set"))
    lacking = [option for option in wanted if option not in result.stdout]
    assert not lacking, f"{command} lacks {lacking}"
    assert any(f"nucleipel {command}" in page.read_text(encoding="utf-8") for page in PAGES)


def test_the_old_spelling_of_stained_as_is_taken(ran: Path, tiny_set, tmp_path: Path) -> None:
    image, out = tiny_set.image("test"), tmp_path / "maps.zarr"
    _ok("predict", image, "--checkpoint", ran / "run2", "--out", out, "--stained-as", "colour")
    assert "stained_as: color\n" in (out / "config.yaml").read_text()
    refused = _run("predict", image, "--out", out, "--stained-as", "coloured")
    assert "'coloured' is not one of 'auto', 'color', 'dye'" in " ".join(refused.stderr.split())


def test_help_shows_every_command_once_with_a_whole_sentence() -> None:
    shown = _ok("--help").stdout
    for command in cli.commands:
        assert re.findall(rf"^  {command}  +[A-Z].*[^.]\.$", shown, flags=re.M), command
    assert shown.index("Pipeline, in this order:") < shown.index("  train ")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from nucleipel.cli import cli;"
        "cli(['train', '--help'], standalone_mode=False);"
        "heavy = {'torch', 'monai', 'numpy', 'zarr', 'pydantic', 'cv2', 'numba'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_batch_logs_have_no_progress_bar(ran: Path) -> None:
    result = _ok("stitch", "--predictions", ran / "maps.zarr", "--out", ran / "again")
    assert "stitching" not in result.output
    assert "%" not in result.output


def test_quiet_and_verbose(ran: Path, tmp_path: Path) -> None:
    arguments = ["stitch", "--predictions", ran / "maps.zarr", "--out"]
    assert "nuclei" in _ok(*arguments, tmp_path / "loud").stderr
    assert _ok("-q", *arguments, tmp_path / "silent").stderr == ""


def test_missing_files(tiny_set, ran: Path, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "out"]
    _refused(r"gone\.csv: no such manifest", "train", "--manifest", tmp_path / "gone.csv", *out)
    _refused(r"gone\.png: no such file", "segment", tmp_path / "gone.png",
             "--checkpoint", ran / "run2", *out)  # fmt: skip
    _refused("gone: no such checkpoint", "segment", tiny_set.image("test"),
             "--checkpoint", tmp_path / "gone", *out)  # fmt: skip
    _refused("gone: no such folder", "stitch", "--predictions", tmp_path / "gone", *out)
    _refused("gone.yaml: cannot be read", "stitch", "--predictions", ran / "maps.zarr",
             "--config", tmp_path / "gone.yaml", *out)  # fmt: skip
    assert not (tmp_path / "out").exists()


def _broken_manifest(tiny_set, tmp_path: Path, text: str) -> list[object]:
    path = tmp_path / "broken.csv"
    path.write_text("image,label,split,source_id\n" + text)
    return ["--manifest", path, "--data-root", tiny_set.folder, "--out", tmp_path / "out"]


def test_broken_manifests(tiny_set, tmp_path: Path) -> None:
    _refused(
        r"line 2: .*val_label\.tif: the label is 128 x 128 px, its image 160 x 224 px",
        "tile", *_broken_manifest(tiny_set, tmp_path, "train.ome.tif,val_label.tif,train,a\n"),
    )  # fmt: skip
    tifffile.imwrite(tmp_path / "float.tif", np.zeros((160, 224), np.float32))
    _refused(
        "1 channel.s. of float32; expected one integer channel",
        "train", *_broken_manifest(
            tiny_set, tmp_path, f"train.ome.tif,{tmp_path / 'float.tif'},train,a\n"
        ),
    )  # fmt: skip
    _refused(
        "source_id 'a' is in the splits train and val",
        "train", *_broken_manifest(
            tiny_set, tmp_path,
            "train.ome.tif,train_label.tif,train,a\nval.ome.tif,val_label.tif,val,a\n",
        ),
    )  # fmt: skip
    path = tmp_path / "columns.csv"
    path.write_text("image,mask,split,source_id\n")
    _refused("column 'label' is missing; found image, mask", "tile", "--manifest", path,
             "--out", tmp_path / "out")  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_broken_settings(tiny_set, tmp_path: Path) -> None:
    train = ["train", "--manifest", tiny_set.manifest, "--out", tmp_path / "out"]
    _refused("unknown key 'epoch'; did you mean 'epochs'", *train, "--set", "epoch=3")
    _refused('epochs is "many": Input should be a valid integer', *train, "--set", "epochs=many")
    file = tmp_path / "bad.yaml"
    file.write_text("learning_rate: fast\n")
    _refused(r"bad\.yaml: learning_rate is \"fast\"", *train, "--config", file)
    assert not (tmp_path / "out").exists()


def test_broken_checkpoints(tiny_set, ran: Path, tmp_path: Path) -> None:
    pickled = tmp_path / "weights.pt"
    torch.save({"weights": torch.zeros(3)}, pickled)
    segment = ["segment", tiny_set.image("test"), "--out", tmp_path / "out", "--checkpoint"]
    _refused(r"weights\.pt: is a pickle, which is never loaded", *segment, pickled)
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "checkpoint.json").write_bytes((ran / "run" / "checkpoint.json").read_bytes())
    weights = (ran / "run" / "checkpoint.safetensors").read_bytes()
    (cut / "checkpoint.safetensors").write_bytes(weights[: len(weights) // 2])
    _refused("does not match the sha256 .*truncated or altered", *segment, cut)
    assert not (tmp_path / "out").exists()


def test_another_run_in_the_output_folder(tiny_set, ran: Path) -> None:
    weights = ran / "run" / "checkpoint.safetensors"
    before = weights.read_bytes()
    train = ["train", "--manifest", tiny_set.manifest, "--out", ran / "run", *_sets(*TINY)]
    _refused("run: holds another run .config.seed 0 there, 1 now", *train, "--set", "seed=1")
    assert weights.read_bytes() == before
    stitch = ["stitch", "--predictions", ran / "maps.zarr", "--out", ran / "overwritten"]
    _ok(*stitch)
    _refused("config.instances.min_area_px", *stitch, "--set", "instances.min_area_px=99999")
    _ok(*stitch, "--set", "instances.min_area_px=99999", "--overwrite")
    assert len(pq.read_table(ran / "overwritten" / "test" / "nuclei.parquet")) == 0


def test_another_report_is_not_overwritten(tiny_set, ran: Path) -> None:
    evaluate = ["evaluate", "--manifest", tiny_set.manifest, "--split", "test", "--instances"]
    report = ["--out", ran / "report.json"]
    _ok(*evaluate, ran / "instances", *report)
    other = [*evaluate, ran / "instances", *report, "--set", "ap_thresholds=[0.5]"]
    _refused("report.json: holds another report", *other)
    _ok(*other, "--overwrite")


def test_images_or_a_manifest(tiny_set, ran: Path, tmp_path: Path) -> None:
    predict = ["predict", "--checkpoint", ran / "run2", "--out", tmp_path / "out"]
    _refused("name images, or give a --manifest", *predict)
    _refused("name images, or give a --manifest", *predict, tiny_set.image("test"),
             "--manifest", tiny_set.manifest)  # fmt: skip
    _refused("go with a --manifest", *predict, tiny_set.image("test"), "--split", "test")
    _refused("share the id 'test'", *predict, tiny_set.image("test"), tiny_set.image("test"))
    _refused("no row has split 'nope'", *predict, "--manifest", tiny_set.manifest,
             "--split", "nope")  # fmt: skip


def test_no_gpu(tiny_set, ran: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    arguments = ["--checkpoint", ran / "run2", "--out", tmp_path / "out", "--device", "cuda"]
    _refused("device cuda: no usable GPU", "segment", tiny_set.image("test"), *arguments)


def test_an_interrupt_says_how_to_continue(tiny_set, tmp_path: Path, monkeypatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nucleipel.stages.pipeline.tile.write_patches", interrupted)
    result = _run("tile", "--manifest", tiny_set.manifest, "--out", tmp_path / "out")
    assert result.exit_code == 130
    assert "the same command continues" in result.stderr


def test_segment_needs_no_checkpoint(tiny_set, tmp_path: Path) -> None:
    """The packaged weights find most nuclei of a slide that they were not trained for."""
    _ok("segment", tiny_set.image("test"), "--out", tmp_path / "out", "--device", "cpu")
    found = tifffile.imread(tmp_path / "out" / "test" / "instances.ome.tif")
    annotated = tifffile.imread(tiny_set.folder / "test_label.tif")
    assert found.shape == annotated.shape
    record = json.loads((tmp_path / "out" / "nucleipel.json").read_text())
    assert record["inputs"]["checkpoint"] == read_checkpoint(Path("default")).fingerprint
    assert (found > 0)[annotated > 0].mean() > (found > 0)[annotated == 0].mean()
