"""A network that sees whole windows is refused; if seams are accepted, every output says so."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from nucleipel.cli import cli
from nucleipel.config import (
    CalibrateConfig,
    ExportConfig,
    FinetunePatchesConfig,
    NetworkConfig,
    PredictConfig,
    SegmentConfig,
    StitchConfig,
    TileConfig,
    TrainConfig,
)
from nucleipel.errors import CheckpointError
from nucleipel.io.manifest import read_manifest
from nucleipel.io.stores.predictions import open_predictions
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.model.onnx_export import describe_use
from nucleipel.stages.files.export import export
from nucleipel.stages.pipeline.calibrate import calibrate
from nucleipel.stages.pipeline.finetune_patches import finetune_patches
from nucleipel.stages.pipeline.predict import predict
from nucleipel.stages.pipeline.segment import segment
from nucleipel.stages.pipeline.stitch import stitch
from nucleipel.stages.pipeline.tile import tile
from nucleipel.stages.pipeline.train import train

pytestmark = pytest.mark.slow

TRAIN = TrainConfig(
    device="cpu",
    workers=0,
    mpp=0.5,
    window_px=64,
    windows_per_epoch=16,
    epochs=1,
    batch_size=4,
    core_px=32,
    learning_rate=1e-2,
    warmup_steps=1,
    accept_seams=True,
    network=NetworkConfig(features=(16, 24), residual_units=1, norm="instance"),
)
FINETUNE = FinetunePatchesConfig(
    device="cpu", workers=0, epochs=1, patches_per_epoch=8, batch_size=4, warmup_steps=1
)
ON_CPU = PredictConfig(device="cpu")
ALL = {"persistence": 0.01, "min_area_px": 1, "min_probability_percent": 0}


@pytest.fixture(scope="module")
def run(tiny_set, tmp_path_factory) -> Path:
    return train(tiny_set.manifest, tmp_path_factory.mktemp("seams") / "run", TRAIN)


@pytest.fixture(scope="module")
def whole_run(tiny_set, tmp_path_factory) -> Path:
    config = TRAIN.model_copy(
        update={
            "mpp": None,
            "whole_images": True,
            "augment": TRAIN.augment.model_copy(update={"scale_range": (1, 1)}),
        }
    )
    return train(tiny_set.manifest, tmp_path_factory.mktemp("whole") / "run", config)


@pytest.mark.parametrize("family", ["unet", "basic_unet"])
def test_it_is_refused_in_one_line_before_anything_is_written(family, tiny_set, tmp_path) -> None:
    out = tmp_path / "run"
    features = "[16, 16, 16, 16, 16, 16]" if family == "basic_unet" else "[16, 24]"
    command = ["train", "--manifest", str(tiny_set.manifest), "--out", str(out)]
    for value in ("norm=instance", f"family={family}", f"features={features}"):
        command += ["--set", f"network.{value}"]
    answer = CliRunner().invoke(cli, command)
    assert answer.exit_code == 1
    (line,) = answer.stderr.strip().splitlines()
    assert line.startswith("error: network.norm is instance: ")
    assert "depend on how an image is cut" in line
    assert line.endswith("; set network.norm=batch, or accept seams with accept_seams=true")
    assert not out.exists()


def test_so_is_a_checkpoint_of_its_kind(run, tiny_set, tmp_path) -> None:
    config = TRAIN.model_copy(update={"accept_seams": False, "network": NetworkConfig()})
    with pytest.raises(
        CheckpointError, match=r"its network has instance norm: .*accept_seams=true"
    ):
        train(tiny_set.manifest, tmp_path / "again", config, checkpoint=run)
    assert not (tmp_path / "again").exists()


def test_accepted_it_is_said_by_all_that_comes_of_it(run, tiny_set, tmp_path, caplog) -> None:
    caplog.set_level(logging.WARNING)
    description = read_checkpoint(run).description
    assert description.network.norm == "instance"
    assert not description.canonical_map
    assert description.receptive_radius_px is None
    assert description.grid.halo_px > 0
    rows = read_manifest(tiny_set.manifest).of_split("test")
    store = predict(run, rows, tmp_path / "maps.zarr", ON_CPU)
    assert "maps depend on how images are cut" in caplog.text
    out = stitch(store, tmp_path / "nuclei", StitchConfig(instances=ALL))
    assert "test: its map depends on how it was cut into windows" in caplog.text
    config = SegmentConfig(device="cpu", instances=ALL)
    both = segment(run, rows, tmp_path / "segmented", config)
    for folder in (out, both):
        message = json.loads((folder / "test" / "certificate.json").read_text())
        assert message["canonical_map"] is False
        assert message["equal_to_uncut"] is False
        assert message["forced"] == []
        page = (folder / "test" / "report.html").read_text()
        assert "the map depends on how the image was cut" in page
        assert "no seam shaped a nucleus" not in page
        assert "cut on a grid" not in page
        assert "cut on a fixed grid" not in page


def test_no_later_stage_forgets_it(run, tiny_set, tmp_path) -> None:
    patches = tile(
        tiny_set.manifest, tmp_path / "patches", TileConfig(mpp=0.5, patch_px=64, overlap_px=16)
    )
    tuned = finetune_patches(run, patches, tmp_path / "tuned", FINETUNE)
    tried = CalibrateConfig(
        device="cpu", rounds=1,
        **dict.fromkeys(CalibrateConfig().candidates(), ()) | {"persistence": (0.1,)},
    )  # fmt: skip
    rows = read_manifest(tiny_set.manifest).of_split("val")
    calibrated = calibrate(tuned, rows, tmp_path / "calibrated", tried)
    checkpoint = read_checkpoint(calibrated)
    assert checkpoint.description.network.norm == "instance"
    assert not checkpoint.description.canonical_map
    assert describe_use(checkpoint)["nucleipel.canonical_map"] == "false"
    assert describe_use(checkpoint)["nucleipel.receptive_radius_px"] == "null"
    words = ExportConfig(license="CC0-1.0", authors=("Ada Lovelace",))
    (package,) = export(calibrated, words, bioimageio=tmp_path / "model.zip")
    assert package.is_file(), "the file agrees with torch"


def test_whole_images_have_no_seams_until_patches_cut_them(whole_run, tiny_set, tmp_path) -> None:
    assert read_checkpoint(whole_run).description.canonical_map
    patches = tile(tiny_set.manifest, tmp_path / "patches", TileConfig(patch_px=64, overlap_px=16))
    tuned = finetune_patches(whole_run, patches, tmp_path / "tuned", FINETUNE)
    assert not read_checkpoint(tuned).description.canonical_map


def test_with_batch_norm_the_map_is_said_to_be_canonical(
    random_checkpoint, tiny_set, tmp_path, caplog
) -> None:
    rows = read_manifest(tiny_set.manifest).of_split("test")
    config = SegmentConfig(device="cpu", keep_predictions=True)
    out = segment(random_checkpoint, rows, tmp_path / "nuclei", config)
    message = json.loads((out / "test" / "certificate.json").read_text())
    assert (message["canonical_map"], message["equal_to_uncut"]) == (True, True)
    assert "no seam shaped a nucleus" in (out / "test" / "report.html").read_text()
    assert "depend" not in caplog.text
    (prediction,) = open_predictions(out / "predictions.zarr").images
    assert prediction.canonical_map


def test_its_map_differs_between_cores_of_two_sizes(run, tiny_set) -> None:
    """The refusal is earned: a trained network's stored map changes, and not by rounding."""
    from nucleipel.core.geometry import Box
    from nucleipel.inference.probability_map import predict_part
    from nucleipel.io.slides.slide import open_slide
    from nucleipel.model.checkpoint import WindowGrid

    checkpoint = read_checkpoint(run)
    halo_px = checkpoint.description.grid.halo_px
    with open_slide(tiny_set.image("test")) as slide:
        maps = [
            predict_part(
                checkpoint.network,
                slide,
                Box.of_shape(slide.shape),
                intensity=slide.intensity_range(),
                grid=WindowGrid(core_px=core_px, halo_px=halo_px, batch=1),
                channels=3,
                maps=4,
                device=torch.device("cpu"),
            )
            for core_px in (32, 128)
        ]
    difference = np.abs(maps[0].astype(int) - maps[1])
    assert (difference > 2).mean() > 0.01
