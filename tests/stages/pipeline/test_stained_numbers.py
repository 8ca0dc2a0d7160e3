"""Numbers of the instance rule that hold for stained tissue alone: used, set, chosen, kept."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nucleipel as npl
from nucleipel.config import CalibrateConfig, PredictConfig, SegmentConfig, StitchConfig
from nucleipel.core.run_options import RunOptions
from nucleipel.core.shard import CLOSE, Shard
from nucleipel.data.synthetic import build_scene
from nucleipel.errors import ManifestError
from nucleipel.io.manifest import Manifest, read_manifest
from nucleipel.io.nuclei.image_output import read_instance_map
from nucleipel.io.slides.write_slide import write_annotation
from nucleipel.io.stores.predictions import open_predictions
from nucleipel.model.checkpoint import read_checkpoint, write_checkpoint
from nucleipel.stages.pipeline.average import average
from nucleipel.stages.pipeline.calibrate import calibrate
from nucleipel.stages.pipeline.predict import predict
from nucleipel.stages.pipeline.segment import segment
from nucleipel.stages.pipeline.stitch import stitch

COMMON = {"foreground_percent": 50, "min_area_px": 10}
STAINED = {"min_area_px": 150}
SHAPE = (150, 210)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged weights with numbers that drop small nuclei, but of stained tissue alone."""
    folder = tmp_path_factory.mktemp("run")
    return _with(
        Path("default"), folder, instances=COMMON, stained_instances=STAINED, chooses_scale=False
    )


def _with(run: Path, out: Path, **fields: object) -> Path:
    model = read_checkpoint(run)
    out.mkdir(exist_ok=True)
    description = dataclasses.replace(model.description, **fields)
    write_checkpoint(out, description, model.network.state_dict())
    return out


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Two images with annotations: one of stained tissue, one of fluorescence."""
    folder = tmp_path_factory.mktemp("images")
    scene = build_scene(SHAPE, seed=2, glass=False)
    Image.fromarray(scene.image).save(folder / "stained.png")
    Image.fromarray(255 - scene.image[..., 0]).save(folder / "glowing.png")
    write_annotation(folder / "label.tif", scene.instance_map)
    lines = [f"{name}.png,label.tif,val,{name}" for name in ("stained", "glowing")]
    path = folder / "manifest.csv"
    path.write_text("\n".join(["image,label,split,source_id", *lines, ""]))
    return read_manifest(path)


def _pixels(rows: Manifest, name: str) -> np.ndarray:
    return np.asarray(Image.open(rows.of_ids([name]).rows[0].image))


def _rules(out: Path, names: Sequence[str] = ("stained", "glowing")) -> list[dict[str, object]]:
    certificates = [json.loads((out / name / "certificate.json").read_text()) for name in names]
    return [certificate["rule"] for certificate in certificates]


def test_stained_tissue_alone_gets_them(run: Path, rows: Manifest, tmp_path: Path) -> None:
    segment(run, rows, tmp_path / "out", SegmentConfig(device="cpu"))
    stained, glowing = _rules(tmp_path / "out")
    assert (stained["min_area_px"], glowing["min_area_px"]) == (150, 10)
    assert stained["foreground_percent"] == glowing["foreground_percent"] == 50
    smallest = {
        name: np.bincount(read_instance_map(tmp_path / "out", name).ravel())[1:].min()
        for name in ("stained", "glowing")
    }
    assert smallest["stained"] >= 150 > smallest["glowing"]


def test_what_a_user_sets_holds_for_all(run: Path, rows: Manifest, tmp_path: Path) -> None:
    maps = predict(run, rows, tmp_path / "maps.zarr", PredictConfig(device="cpu"))
    config = StitchConfig.model_validate({"instances": {"min_area_px": 20}})
    stitch(maps, tmp_path / "out", config)
    assert [rule["min_area_px"] for rule in _rules(tmp_path / "out")] == [20, 20]


@pytest.mark.parametrize("name", ["stained", "glowing"])
def test_an_array_has_the_nuclei_of_its_file(
    run: Path, rows: Manifest, tmp_path: Path, name: str
) -> None:
    segment(run, rows.of_ids([name]), tmp_path / "out", SegmentConfig(device="cpu"))
    wanted = read_instance_map(tmp_path / "out", name)
    model, pixels = npl.load(run), _pixels(rows, name)
    assert np.array_equal(model(pixels, device="cpu"), wanted)
    maps = model.predict(pixels, device="cpu")
    assert np.array_equal(model.instances(maps, stained=name == "stained"), wanted)


def test_processes_that_share_an_image_use_the_same(
    run: Path, rows: Manifest, tmp_path: Path
) -> None:
    store, config = tmp_path / "maps.zarr", PredictConfig(device="cpu")
    for shard in (Shard(2, 2), Shard(1, 2), CLOSE):
        predict(run, rows, store, config, options=RunOptions(shard=shard))
    opened = open_predictions(store)
    numbers = {image.id: opened.instances_of(image) for image in opened.images}
    assert numbers == {"stained": {**COMMON, **STAINED}, "glowing": COMMON}


def test_calibrated_on_stained_tissue_the_rest_keeps_its_numbers(
    run: Path, rows: Manifest, tmp_path: Path
) -> None:
    tried = CalibrateConfig(stained=True, device="cpu", **_only(min_area_px=(5, 300)))
    of_stained = calibrate(run, rows, tmp_path / "stained", tried)
    description = read_checkpoint(of_stained).description
    assert description.instances == COMMON
    alone = calibrate(run, rows.of_ids(["stained"]), tmp_path / "alone", tried)
    chosen = read_checkpoint(alone).description
    assert description.stained_instances == chosen.stained_instances, "fluorescence had a part"


def test_calibrated_on_all_images_one_set_of_numbers_is_left(
    run: Path, rows: Manifest, tmp_path: Path
) -> None:
    out = calibrate(
        run, rows, tmp_path / "out", CalibrateConfig(device="cpu", **_only(min_area_px=(5, 300)))
    )
    description = read_checkpoint(out).description
    assert description.stained_instances == {}
    assert "stained_instances" not in json.loads((out / "checkpoint.json").read_text())


def test_without_stained_tissue_there_is_nothing_to_calibrate(
    run: Path, rows: Manifest, tmp_path: Path
) -> None:
    config = CalibrateConfig(stained=True, device="cpu")
    with pytest.raises(ManifestError, match=r"none of 1 images is of stained tissue.*leave out"):
        calibrate(run, rows.of_ids(["glowing"]), tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


def _only(**numbers: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Settings that try these numbers and no other."""
    none = dict.fromkeys(CalibrateConfig().candidates(), ())
    return {**none, **numbers}


def test_a_mean_keeps_those_of_the_first(run: Path, tmp_path: Path) -> None:
    plain = _with(run, tmp_path / "plain", stained_instances={})
    both = average([run, plain], tmp_path / "mean")
    assert read_checkpoint(both).description.stained_instances == STAINED
