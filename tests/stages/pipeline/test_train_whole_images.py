"""A network trained on whole images predicts whole images, until it is fine-tuned on patches."""

import json
from pathlib import Path

import pytest
import torch

from nucleipel.config import (
    AugmentConfig,
    DeviationConfig,
    FinetunePatchesConfig,
    InfoConfig,
    NetworkConfig,
    PredictConfig,
    TileConfig,
    TrainConfig,
    load_config,
)
from nucleipel.core.geometry import Box
from nucleipel.errors import ConfigError, ImageError
from nucleipel.inference.probability_map import place_network, predict_part
from nucleipel.io.manifest import read_manifest
from nucleipel.io.slides.slide import open_slide
from nucleipel.io.stores.predictions import open_predictions
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.stages.experiments.deviation import deviation
from nucleipel.stages.files.info import info
from nucleipel.stages.pipeline.finetune_patches import finetune_patches
from nucleipel.stages.pipeline.predict import predict
from nucleipel.stages.pipeline.tile import tile
from nucleipel.stages.pipeline.train import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tiny_set, tmp_path_factory) -> Path:
    config = TrainConfig(
        device="cpu",
        workers=0,
        window_px=64,
        whole_images=True,
        windows_per_epoch=4,
        epochs=1,
        batch_size=4,
        core_px=32,
        warmup_steps=1,
        network=NetworkConfig(features=(16, 24), residual_units=1),
        augment=AugmentConfig(scale_range=(1, 1)),
    )
    return train(tiny_set.manifest, tmp_path_factory.mktemp("whole") / "run", config)


def test_its_maps_are_of_whole_images(run, tiny_set, tmp_path) -> None:
    model = read_checkpoint(run)
    assert model.description.grid.whole_image_px == 64
    assert model.description.mpp is None
    rows = read_manifest(tiny_set.manifest).of_split("test")
    settings = PredictConfig(device="cpu")
    (found,) = open_predictions(predict(run, rows, tmp_path / "maps.zarr", settings)).images
    place_network(model.network, torch.device("cpu"))  # another layout of memory rounds otherwise
    with open_slide(tiny_set.image("test")) as slide:
        expected = predict_part(
            model.network,
            slide,
            Box.of_shape(slide.shape),
            intensity=slide.intensity_range(),
            grid=model.description.grid,
            channels=3,
            maps=4,
            device=torch.device("cpu"),
        )
    assert (found.read_map() == expected).all()
    with pytest.raises(ConfigError, match=r"at_mpp 0\.5: the network takes whole images"):
        predict(run, rows, tmp_path / "other.zarr", PredictConfig(device="cpu", at_mpp=0.5))
    assert not (tmp_path / "other.zarr").exists()
    use = info(tiny_set.image("test"), InfoConfig(), checkpoint=run)["use"]
    assert use.endswith("whole, resized to 64 px")


def test_large_images_are_refused_before_the_work(run, tiny_set, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("nucleipel.io.slides.slide_reader.WHOLE_SHRINK", 2)
    rows = read_manifest(tiny_set.manifest)
    with pytest.raises(ImageError, match=r"2 images cannot be used: .*too large to be resized"):
        predict(run, rows, tmp_path / "maps.zarr", PredictConfig(device="cpu"))
    assert not (tmp_path / "maps.zarr").exists()
    with pytest.raises(ImageError, match="too large to be resized whole to 64 px"):
        train(tiny_set.manifest, tmp_path / "run", _config_of(run))
    assert not (tmp_path / "run").exists()
    assert info(tiny_set.image("test"), InfoConfig(), checkpoint=run)["use"].startswith("refused")


def _config_of(run: Path) -> TrainConfig:
    return load_config(TrainConfig, file=run / "config.yaml")


def test_patches_make_it_see_windows(run, tiny_set, tmp_path) -> None:
    patches = tile(
        tiny_set.manifest, tmp_path / "patches.zarr", TileConfig(patch_px=64, overlap_px=16)
    )
    config = FinetunePatchesConfig(
        device="cpu", workers=0, epochs=1, patches_per_epoch=4, batch_size=4, warmup_steps=1
    )
    tuned = finetune_patches(run, patches, tmp_path / "tuned", config)
    before, after = read_checkpoint(run).description, read_checkpoint(tuned).description
    assert (before.grid.whole_image_px, after.grid.whole_image_px) == (64, None)
    assert (after.grid.core_px, after.grid.halo_px) == (before.grid.core_px, before.grid.halo_px)
    rows = read_manifest(tiny_set.manifest).of_split("val")
    out = deviation(
        run, rows, tmp_path / "out", DeviationConfig(device="cpu", patch_px=64), after=tuned
    )
    found = json.loads((out / "panels" / "val.json").read_text())["numbers"]
    assert [numbers["moment"] for numbers in found] == ["before", "after"]


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (
            ["balance_by=modality"],
            "balance_by modality shares out windows, and whole_images has none",
        ),
        (["mpp=0.5"], r"mpp is 0\.5, but whole_images resizes images of any size"),
        (["augment.scale_range=[0.7, 1.4]"], r"set augment\.scale_range to \[1, 1\]"),
    ],
)
def test_what_makes_no_sense_with_whole_images(assignments: list[str], message: str) -> None:
    whole = ["whole_images=true", "augment.scale_range=[1, 1]"]
    load_config(TrainConfig, assignments=whole)
    with pytest.raises(ConfigError, match=message):
        load_config(TrainConfig, assignments=[*whole, *assignments])
