"""Working at a scale, or at one that is chosen: the same frames, the same bytes, clear refusals."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.untrained import small_network, write_untrained

import nucleipel as npl
from nucleipel.config import PlanConfig, PredictConfig, SegmentConfig, SuggestConfig, load_config
from nucleipel.core.run_options import RunOptions
from nucleipel.core.shard import CLOSE, Shard
from nucleipel.data.synthetic import build_scene
from nucleipel.errors import ConfigError
from nucleipel.inference import choose_view as views
from nucleipel.inference.probability_map import choose_device
from nucleipel.io.manifest import Manifest, manifest_of_images
from nucleipel.io.nuclei.image_output import read_instance_map
from nucleipel.io.stores.predictions import open_predictions
from nucleipel.model.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from nucleipel.stages.pipeline.average import average
from nucleipel.stages.pipeline.predict import predict, slide_reader_for
from nucleipel.stages.pipeline.seen_slide import see, see_kept
from nucleipel.stages.pipeline.segment import segment
from nucleipel.stages.pipeline.suggest import suggest
from nucleipel.stages.plan.image_survey import survey_image

SHAPE = (150, 210)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return write_untrained(folder, small_network(block_px=2), core_px=64, mpp=None)


@pytest.fixture(scope="module")
def choosing(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights, in a checkpoint that chooses the scale of each image."""
    folder = tmp_path_factory.mktemp("choosing")
    model = read_checkpoint(run)
    description = dataclasses.replace(model.description, chooses_scale=True)
    write_checkpoint(folder, description, model.network.state_dict())
    return folder


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "a.png"
    Image.fromarray(build_scene(SHAPE, seed=2, glass=False).image).save(path)
    return path


@pytest.fixture
def always_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every image seen at half its size, whatever the network says of it."""
    monkeypatch.setattr(views, "SURE_STAINED", 2.0)
    monkeypatch.setattr(views, "DOUBTFUL_STAINED", -1.0)
    monkeypatch.setattr(views, "LEAD", -2.0)
    monkeypatch.setattr(views, "NARROW_STAINED_PX", 0.0)
    monkeypatch.setattr(views, "WIDE_PX", math.inf)
    monkeypatch.setattr(views, "COARSER", (0.5,))
    found = views.Disagreement(0, 1, 1), views.Disagreement(255, 1, 1)
    monkeypatch.setattr(views, "disagreement", lambda maps, _: found[maps.shape[1] == SHAPE[0]])


def _rows(image: Path) -> Manifest:
    return manifest_of_images([image])


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.5, 2.0])
def test_a_scale_is_the_frame_of_an_mpp(run: Path, image: Path, scale: float) -> None:
    """Where the pixel size is known, working at .25 / scale um gives the same nuclei."""
    pixels = np.asarray(Image.open(image))
    by_scale = npl.segment(pixels, model=run, scale=scale, device="cpu")
    enlarge = scale > 1
    by_mpp = npl.segment(
        pixels, model=run, mpp=0.25, at_mpp=0.25 / scale, enlarge=enlarge, device="cpu"
    )
    assert by_scale.shape == SHAPE
    assert by_scale.max() > 0
    assert np.array_equal(by_scale, by_mpp)


@pytest.mark.usefixtures("always_half")
def test_a_chosen_scale_gives_what_it_gives_when_set(
    run: Path, choosing: Path, image: Path, tmp_path: Path
) -> None:
    segment(choosing, _rows(image), tmp_path / "chosen", SegmentConfig(device="cpu"))
    config = SegmentConfig(device="cpu", scale=0.5, stained_as="color")
    segment(run, _rows(image), tmp_path / "set", config)
    chosen, wanted = (read_instance_map(tmp_path / name, "a") for name in ("chosen", "set"))
    assert np.array_equal(chosen, wanted)
    view = json.loads((tmp_path / "chosen/a/certificate.json").read_text())["view"]
    assert (view["scale"], view["stained_as"]) == (0.5, "color")
    assert view["disagreements"] == {"1": 1.0, "0.5": 0.0, "0.5 as dye": 0.0}


@pytest.mark.usefixtures("always_half")
def test_an_array_has_the_nuclei_of_its_file(choosing: Path, image: Path, tmp_path: Path) -> None:
    segment(choosing, _rows(image), tmp_path / "out", SegmentConfig(device="cpu"))
    pixels = np.asarray(Image.open(image))
    labels = npl.segment(pixels, model=choosing, device="cpu")
    assert np.array_equal(labels, read_instance_map(tmp_path / "out", "a"))


@pytest.mark.usefixtures("always_half")
def test_processes_that_share_an_image_see_it_alike(
    choosing: Path, image: Path, tmp_path: Path
) -> None:
    config, rows = PredictConfig(device="cpu"), _rows(image)
    whole = predict(choosing, rows, tmp_path / "whole.zarr", config)
    shared = tmp_path / "shared.zarr"
    for number in (2, 1):
        predict(choosing, rows, shared, config, options=RunOptions(shard=Shard(number, 2)))
    predict(choosing, rows, shared, config, options=RunOptions(shard=CLOSE))
    maps = [open_predictions(store).images[0] for store in (whole, shared)]
    assert maps[0].resolution == maps[1].resolution
    assert maps[0].resolution.shape == (75, 105)
    assert np.array_equal(maps[0].read_map(), maps[1].read_map())
    assert maps[0].view == maps[1].view


def test_what_was_kept_is_what_was_seen(
    choosing: Path, image: Path, tmp_path: Path, always_half: None
) -> None:

    model, config = read_checkpoint(choosing), PredictConfig(device="cpu")
    (row,) = _rows(image)
    with row.open(slide_reader_for(model, config)) as slide:
        seen = see(model, slide, lambda _: None, config, choose_device("cpu"))
        seen.keep(tmp_path / "kept.json")
        again = see_kept(tmp_path / "kept.json", model, slide)
        assert again is not None
        assert again.slide.resolution == seen.slide.resolution
        for name in ("grid", "intensity", "skipped", "view_record"):
            assert getattr(again, name) == getattr(seen, name)


@pytest.mark.usefixtures("always_half")
def test_suggestions_are_in_pixels_of_the_image(
    choosing: Path, image: Path, tmp_path: Path
) -> None:
    config = SuggestConfig(device="cpu", regions=1, size_px=40)
    out = suggest(choosing, _rows(image), tmp_path / "next", config)
    (feature,) = json.loads((out / "a.geojson").read_text())["features"]
    corners = np.reshape(feature["geometry"]["coordinates"], (-1, 2))
    assert np.ptp(corners, axis=0).tolist() == [80, 80]


def test_what_is_trained_on_knows_its_scale(run: Path, choosing: Path, tmp_path: Path) -> None:
    mean = average([choosing, run], tmp_path / "mean")
    assert not read_checkpoint(mean).description.chooses_scale
    same = average([choosing, choosing], tmp_path / "same")
    assert read_checkpoint(same).description.chooses_scale
    assert read_checkpoint(choosing).fingerprint != read_checkpoint(run).fingerprint


def test_an_mpp_is_not_replaced_by_a_choice(choosing: Path, image: Path) -> None:
    """With a working mpp nothing is chosen."""
    pixels = np.asarray(Image.open(image))
    result = npl.load(choosing).segment(pixels, mpp=0.25, at_mpp=0.25, device="cpu")
    assert result.certificate["view"]["disagreements"] == {}
    assert result.certificate["view"]["scale"] == 1


def test_both_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"scale 0\.5 and at_mpp 0\.5"):
        load_config(PredictConfig, assignments=["scale=0.5", "at_mpp=0.5"])
    with pytest.raises(ConfigError, match="scale"):
        load_config(PredictConfig, assignments=["scale=3"])


def test_a_network_with_an_mpp_has_a_scale(image: Path, tmp_path: Path) -> None:
    run = write_untrained(tmp_path / "run", small_network(block_px=2), core_px=64, mpp=0.5)
    config = PredictConfig(device="cpu", scale="auto", source_mpp=0.5)
    with pytest.raises(ConfigError, match=r"scale auto: the checkpoint works at 0\.5 um"):
        predict(run, _rows(image), tmp_path / "maps.zarr", config)
    assert not (tmp_path / "maps.zarr").exists()


def test_a_network_without_distances_cannot_choose(run: Path, image: Path, tmp_path: Path) -> None:
    model = read_checkpoint(run)
    three = dataclasses.replace(model.description, maps=model.description.maps[:3])
    with pytest.raises(ConfigError, match="scale auto: needs a network with a distance map"):
        predict(
            Checkpoint(three, model.network, model.sha256),
            _rows(image),
            tmp_path / "maps.zarr",
            PredictConfig(device="cpu", scale="auto"),
        )
    assert not (tmp_path / "maps.zarr").exists()


def test_a_plan_counts_the_pixels_of_the_scale(run: Path, image: Path) -> None:
    (row,) = _rows(image)
    for scale, shape in ((None, SHAPE), (0.5, (75, 105)), (2.0, (300, 420))):
        config = PlanConfig(device="cpu", scale=scale)
        model = read_checkpoint(run)
        survey = survey_image(model, row, slide_reader_for(model, config), config)
        assert survey.resolution.shape == shape
