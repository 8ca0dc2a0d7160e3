"""`stitch --checkpoint`: the nuclei that a model of another program gives in memory, as files."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from support.command_line import accepted, refusal
from support.onnx_models import write_model

import nucleipel as npl
from nucleipel.cli import cli


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder / "m.onnx")
    image = np.random.default_rng(0).integers(0, 255, (90, 70), np.uint8)
    tifffile.imwrite(folder / "image.tif", image)
    return folder


def test_the_files_have_the_nuclei_of_the_array(folder: Path, tmp_path: Path) -> None:
    command = [
        "stitch", "--checkpoint", folder / "m.onnx", "--image", folder / "image.tif",
        "--channels", "foreground=0", "--mpp", "0.5", "--out", tmp_path / "out",
        "--set", "stride_px=2", "--set", "instances.min_area_px=1",
    ]  # fmt: skip
    accepted(*command)
    model = npl.load(folder / "m.onnx", channels={"foreground": 0}, stride=2)
    image = tifffile.imread(folder / "image.tif")
    of_array = model.segment(image, mpp=0.5, instances={"min_area_px": 1})
    of_file = npl.SlideResult(tmp_path / "out", "image")
    assert of_array.labels.max() > 5
    assert (of_file.labels[:] == of_array.labels).all()
    assert of_file.certificate["canonical_map"] is True
    written = (of_file.folder / "nuclei.parquet").stat().st_mtime_ns
    accepted(*command)
    assert (of_file.folder / "nuclei.parquet").stat().st_mtime_ns == written
    message = refusal(*command, "--set", "activation=softmax")
    assert "activation" in message


def test_what_does_not_go_together(folder: Path, tmp_path: Path) -> None:
    model, out = ["--checkpoint", folder / "m.onnx"], ["--out", tmp_path / "out"]
    for options, message in [
        ([], "give --predictions, --maps or --checkpoint: one of the three"),
        ([*model, "--maps", "m.npy"], "one of the three"),
        (model, "--checkpoint needs an --image"),
        ([*model, "--image", "i.tif", "--workers", "2"], "are stitched in this process"),
        ([*model, "--image", "i.tif", "--shard", "1/2"], "is not shared in shards"),
        (["--predictions", "p.zarr", "--image", "i.tif"], "go with --maps or --checkpoint"),
    ]:
        result = CliRunner().invoke(cli, ["stitch", *map(str, [*options, *out])])
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()
