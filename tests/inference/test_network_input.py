"""Stained slides shown as their nuclear dye: no others, and as exact in tiles as in color."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.untrained import small_network, write_untrained

from nucleipel.config import SegmentConfig
from nucleipel.core.geometry import Box
from nucleipel.data.synthetic import build_scene
from nucleipel.errors import PredictionError
from nucleipel.inference.network_input import show
from nucleipel.inference.probability_map import predict_part
from nucleipel.io.manifest import manifest_of_images
from nucleipel.io.nuclei.image_output import read_instance_map
from nucleipel.io.slides.slide import open_slide
from nucleipel.metrics.scores import ImageScore
from nucleipel.model.checkpoint import DEFAULT, Checkpoint, read_checkpoint
from nucleipel.model.nuclear_dye import REACH_PX, NuclearDyeLayer
from nucleipel.model.receptive_field import receptive_radius
from nucleipel.stages.pipeline.segment import segment

SHAPE = (150, 210)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("run")
    return read_checkpoint(write_untrained(folder, small_network(block_px=2), core_px=64, mpp=None))


@pytest.fixture
def stained(tmp_path: Path) -> Path:
    path = tmp_path / "stained.png"
    Image.fromarray(build_scene(SHAPE, seed=2, glass=False).image).save(path)
    return path


def test_the_reach_is_measured() -> None:
    assert receptive_radius(NuclearDyeLayer(), in_channels=3, stride=8) == REACH_PX


@pytest.mark.parametrize("stained_as", ["color", "dye"])
def test_where_windows_are_cut_changes_nothing(
    stained: Path, model: Checkpoint, stained_as: str
) -> None:
    with open_slide(stained) as slide:
        maps = []
        for core_px in (16, 64, 256):
            grid = dataclasses.replace(model.description.grid, core_px=core_px)
            cut = dataclasses.replace(
                model, description=dataclasses.replace(model.description, grid=grid)
            )
            network, grid = show(cut, slide, stained_as=stained_as)  # type: ignore[arg-type]
            maps.append(
                predict_part(
                    network, slide, Box.of_shape(SHAPE),
                    intensity=slide.intensity_range(), grid=grid, channels=3, maps=4,
                    device=torch.device("cpu"),
                ).astype(int)
            )  # fmt: skip
    assert maps[0].std() > 1, "not constant"
    for other in maps[1:]:
        assert np.abs(other - maps[0]).max() <= 1


def test_only_stained_slides_are_shown_so(stained: Path, model: Checkpoint, tmp_path: Path) -> None:
    gray = tmp_path / "gray.png"
    Image.fromarray(255 - np.asarray(Image.open(stained).convert("L"))).save(gray)
    with open_slide(gray) as slide:
        assert show(model, slide, stained_as="dye")[0] is model.network
    with open_slide(stained) as slide:
        assert show(model, slide)[0] is model.network
        network, grid = show(model, slide, stained_as="dye")
    assert network is not model.network
    assert grid.halo_px - model.description.grid.halo_px >= REACH_PX


def test_a_grid_off_the_cells_is_refused(stained: Path, model: Checkpoint) -> None:
    grid = dataclasses.replace(model.description.grid, core_px=36)
    odd = dataclasses.replace(model, description=dataclasses.replace(model.description, grid=grid))
    with (
        open_slide(stained) as slide,
        pytest.raises(PredictionError, match=r"multiple of 8 px, .* has 36; set stained_as=color"),
    ):
        show(odd, slide, stained_as="dye")


def test_the_packaged_weights_find_the_nuclei_of_a_faint_stain_by_their_dye(tmp_path: Path) -> None:
    scene = build_scene((300, 300), seed=5, glass=False)
    faint = 255 - (255 - scene.image.astype(int)) // 4
    Image.fromarray(faint.astype(np.uint8)).save(tmp_path / "faint.png")
    rows = manifest_of_images([tmp_path / "faint.png"])
    config = SegmentConfig(device="cpu", stained_as="dye")
    out = segment(Path(DEFAULT), rows, tmp_path / "out", config)
    found = read_instance_map(out, "faint")
    assert ImageScore.of(scene.instance_map, found).to_scores()["pq"] > 0.6
