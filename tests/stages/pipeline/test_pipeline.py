"""The stages one after another on a tiny set: what each writes is what the next needs."""

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import zarr
from PIL import Image

from nucleipel.config import (
    CalibrateConfig,
    EvaluateConfig,
    FinetunePatchesConfig,
    NetworkConfig,
    PELConfig,
    PredictConfig,
    SegmentConfig,
    StitchConfig,
    TileConfig,
    TrainConfig,
)
from nucleipel.core.geometry import reflected_indices
from nucleipel.core.intensity import IntensityRange
from nucleipel.core.wkb import to_wkb
from nucleipel.errors import CheckpointError, ImageError, ManifestError, StoreError
from nucleipel.io.manifest import manifest_of_images, read_manifest
from nucleipel.io.slides.write_slide import write_annotation, write_slide
from nucleipel.io.stores.patches import open_patch_store
from nucleipel.io.stores.predictions import open_predictions
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.stages.pipeline.calibrate import calibrate
from nucleipel.stages.pipeline.evaluate import evaluate
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
    windows_per_epoch=32,
    epochs=6,
    batch_size=4,
    core_px=32,
    learning_rate=1e-2,
    warmup_steps=4,
    ema_decay=0.9,
    network=NetworkConfig(features=(16, 24, 32), residual_units=1),
)
TILE = TileConfig(mpp=0.5, patch_px=64, overlap_px=16, shard_patches=8)
FINETUNE = FinetunePatchesConfig(device="cpu", workers=0, epochs=1, batch_size=4, warmup_steps=1)


@pytest.fixture(scope="module")
def ran(tiny_set, tmp_path_factory) -> Path:
    """A folder in which every stage ran once."""
    folder = tmp_path_factory.mktemp("ran")
    run = train(tiny_set.manifest, folder / "train", TRAIN)
    patches = tile(tiny_set.manifest, folder / "patches.zarr", TILE)
    tuned = finetune_patches(run, patches, folder / "finetune", FINETUNE)
    rows = read_manifest(tiny_set.manifest).of_split("test")
    maps = predict(tuned, rows, folder / "maps.zarr", PredictConfig(device="cpu"))
    stitch(maps, folder / "instances", StitchConfig())
    return folder


@pytest.mark.slow
def test_a_checkpoint_is_enough_to_predict_with(ran: Path) -> None:
    for run in ("train", "finetune"):
        description = read_checkpoint(ran / run).description
        assert description.mpp == 0.5
        assert description.grid.halo_px >= description.receptive_radius_px > 0
        assert description.grid.halo_px % 4 == 0
        assert description.maps == ("background", "interior", "boundary", "distance")
    parent = read_checkpoint(ran / "train").sha256
    assert read_checkpoint(ran / "finetune").description.parent_sha256 == parent


def test_run_folders_hold_their_history(ran: Path) -> None:
    for run in ("train", "finetune"):
        for name in ("config.yaml", "metrics.csv", "curves.png", "tensorboard", "nucleipel.json"):
            assert (ran / run / name).exists(), (run, name)


def test_the_map_does_not_depend_on_how_it_was_cut(ran: Path, tiny_set, tmp_path: Path) -> None:
    """Core 32 px against one window over the whole image: equal up to float rounding."""
    import dataclasses

    import torch

    from nucleipel.core.geometry import Box
    from nucleipel.inference.probability_map import predict_part
    from nucleipel.io.slides.slide import open_slide

    tiled = open_predictions(ran / "maps.zarr").images[0].read_map()
    checkpoint = read_checkpoint(ran / "finetune")
    description = checkpoint.description
    with open_slide(tiny_set.image("test")) as slide:
        whole = predict_part(
            checkpoint.network,
            slide,
            Box.of_shape(slide.shape),
            intensity=slide.intensity_range(),
            grid=dataclasses.replace(description.grid, core_px=192),
            channels=3,
            maps=4,
            device=torch.device("cpu"),
        )
    assert tiled.shape == whole.shape == (4, 100, 170)
    difference = np.abs(tiled.astype(int) - whole)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_a_halo_below_the_receptive_radius_would_show(ran: Path, tiny_set) -> None:
    import dataclasses

    import torch

    from nucleipel.core.geometry import Box
    from nucleipel.inference.probability_map import predict_part
    from nucleipel.io.slides.slide import open_slide

    checkpoint = read_checkpoint(ran / "finetune")
    with open_slide(tiny_set.image("test")) as slide:
        short = predict_part(
            checkpoint.network,
            slide,
            Box.of_shape(slide.shape),
            intensity=slide.intensity_range(),
            grid=dataclasses.replace(checkpoint.description.grid, halo_px=0),
            channels=3,
            maps=4,
            device=torch.device("cpu"),
        )
    tiled = open_predictions(ran / "maps.zarr").images[0].read_map()
    assert np.abs(tiled.astype(int) - short).max() > 1


def test_averaged_flips_do_not_know_how_the_image_lies(ran: Path, tiny_set) -> None:
    """Turned or mirrored, an image gets the turned or mirrored map; also cut into small cores."""
    import dataclasses

    import torch

    from nucleipel.core.geometry import Box
    from nucleipel.inference.probability_map import predict_part

    checkpoint = read_checkpoint(ran / "finetune")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)

    class Picture:
        def __init__(self, pixels: np.ndarray) -> None:
            self.pixels, self.shape, self.path = pixels, pixels.shape[:2], "picture"

        def read(self, box: Box) -> np.ndarray:
            rows = reflected_indices(box.y0, box.y1, 64)
            return self.pixels[rows][:, reflected_indices(box.x0, box.x1, 64)]

    def predicted(pixels: np.ndarray, *, flips: bool = True, core_px: int = 64) -> np.ndarray:
        return predict_part(
            checkpoint.network,
            Picture(pixels),
            Box.of_shape((64, 64)),
            intensity=IntensityRange.of_pixels(pixels),
            grid=dataclasses.replace(checkpoint.description.grid, core_px=core_px),
            channels=3,
            maps=4,
            device=torch.device("cpu"),
            flips=flips,
        ).astype(int)

    upright = predicted(pixels)
    turned = predicted(np.rot90(pixels, axes=(0, 1)))
    assert np.abs(np.rot90(upright, axes=(1, 2)) - turned).max() <= 1
    assert np.abs(upright[:, :, ::-1] - predicted(pixels[:, ::-1])).max() <= 1
    assert np.abs(upright - predicted(pixels, core_px=16)).max() <= 1
    assert np.abs(upright - predicted(pixels, flips=False)).max() > 1


def test_instances_come_in_files_that_agree(ran: Path, tiny_set) -> None:
    folder = ran / "instances" / "test"
    with tifffile.TiffFile(folder / "instances.ome.tif") as tiff:
        instance_map = tiff.asarray()
        assert 'PhysicalSizeX="0.5"' in tiff.ome_metadata
    assert (instance_map.shape, instance_map.dtype) == ((100, 170), np.uint32)
    rows = pq.read_table(folder / "nuclei.parquet").to_pylist()
    assert len(rows) == instance_map.max() > 0
    pixels = tifffile.imread(tiny_set.image("test"))
    for row in rows:
        inside = instance_map == row["id"]
        ys, xs = np.nonzero(inside)
        assert len(ys) == row["area_px"]
        assert row["area_um2"] == pytest.approx(len(ys) * 0.25)
        box = [row[name] for name in ("y0_px", "x0_px", "y1_px", "x1_px")]
        assert box == [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]
        assert row["centroid_y_um"] == pytest.approx(ys.mean() / 2)
        assert 0.5 <= row["mean_probability"] <= 1
        assert row["green_mean"] == pytest.approx(pixels[inside][:, 1].mean())
    assert rows[0].keys() >= {"hematoxylin_od_mean", "eosin_od_mean", "geometry"}
    assert np.array_equal(zarr.open_group(folder / "instances.zarr", mode="r")["0"], instance_map)
    features = json.loads((folder / "nuclei.geojson").read_text())["features"]
    for feature, row in zip(features, rows, strict=True):
        (ring,) = feature["geometry"]["coordinates"]
        assert to_wkb([[np.array(ring[:-1])[:, ::-1]]]) == row["geometry"]
        assert feature["properties"]["measurements"]["id"] == row["id"]
        assert feature["properties"]["measurements"]["area_px"] == row["area_px"]
    overlay = np.asarray(Image.open(folder / "overlay.png"))
    assert overlay.shape == (4 * 100, 4 * 170, 3)
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert f"<dt>nuclei</dt><dd>{len(rows)}</dd>" in report
    assert f"size: {170} x {100} px · pixel: 0.5 µm" in report
    shown = re.findall(r'<figure title="nucleus (\d+) at', report)
    assert len(shown) == 3 * min(12, len(rows))
    largest = max(rows, key=lambda row: row["area_px"])
    assert int(shown[0]) == largest["id"]
    digest = json.loads((folder / "certificate.json").read_text())["instances_digest"]
    assert f"<td>{digest}</td>" in report


def test_segment_gives_what_predict_and_stitch_give(ran: Path, tiny_set, tmp_path: Path) -> None:
    rows = read_manifest(tiny_set.manifest).of_split("test")
    out = segment(ran / "finetune", rows, tmp_path / "out", SegmentConfig(device="cpu"))
    for name in ("instances.ome.tif", "nuclei.parquet", "nuclei.geojson", "overlay.png"):
        ours, theirs = out / "test" / name, ran / "instances" / "test" / name
        assert ours.read_bytes() == theirs.read_bytes(), name
    assert not (out / "predictions.zarr").exists()


@pytest.mark.parametrize("at_mpp", [0.4, 0.65, 1.0])
def test_nuclei_are_written_in_pixels_of_level_0(
    ran: Path, tiny_set, tmp_path: Path, at_mpp: float
) -> None:
    rows = read_manifest(tiny_set.manifest).of_split("test")
    config = PredictConfig(device="cpu", at_mpp=at_mpp, enlarge=at_mpp < 0.5)
    maps = predict(ran / "finetune", rows, tmp_path / "maps.zarr", config)
    results = {}
    for frame in ("level0", "working"):
        out = stitch(maps, tmp_path / frame, StitchConfig(map_frame=frame))
        drawn = tifffile.imread(out / "test" / "instances.ome.tif")
        table = pq.read_table(out / "test" / "nuclei.parquet")
        facts = json.loads((out / "test" / "certificate.json").read_text())
        assert table["id"].to_pylist() == list(range(1, drawn.max() + 1))
        assert table["area_px"].to_pylist() == np.bincount(drawn.ravel())[1:].tolist()
        assert facts["map"]["shape"] == list(drawn.shape)
        assert facts["map"]["nuclei"] == len(table) == facts["nuclei"] - facts["map"]["lost"]
        results[frame] = drawn, table
    level0, working = results["level0"], results["working"]
    assert level0[0].shape == (100, 170)
    assert working[0].shape == (round(50 / at_mpp), round(85 / at_mpp))
    assert len(level0[1]) == len(working[1]) > 3
    for column, slack in (("centroid_y_um", 1.0), ("centroid_x_um", 1.0)):
        pairs = zip(level0[1][column].to_pylist(), working[1][column].to_pylist(), strict=True)
        assert all(abs(one - other) < slack for one, other in pairs)
    total = [sum(table["area_um2"].to_pylist()) for _, table in (level0, working)]
    assert total[0] == pytest.approx(total[1], rel=0.1)
    report = evaluate(
        tiny_set.manifest, tmp_path / "level0", tmp_path / "r.json", EvaluateConfig(), split="test"
    )
    assert report["predicted_nuclei"] == len(level0[1])
    with pytest.raises(ImageError, match="stitch with map_frame level0"):
        evaluate(
            tiny_set.manifest, tmp_path / "working", tmp_path / "r2.json", EvaluateConfig(),
            split="test",
        )  # fmt: skip


def test_an_image_that_is_gone_or_changed_is_not_measured(
    ran: Path, tiny_set, tmp_path: Path
) -> None:
    image = tmp_path / "image.ome.tif"
    shutil.copy(tiny_set.image("test"), image)
    maps = predict(
        ran / "finetune", manifest_of_images([image]), tmp_path / "maps.zarr",
        PredictConfig(device="cpu"),
    )  # fmt: skip
    image.unlink()
    with pytest.raises(StoreError, match=r"no such file.*--set intensities=false"):
        stitch(maps, tmp_path / "out", StitchConfig())
    out = stitch(maps, tmp_path / "plain", StitchConfig(intensities=False))
    assert "red_mean" not in pq.read_schema(out / "image" / "nuclei.parquet").names
    report = (out / "image" / "report.html").read_text(encoding="utf-8")
    assert "<figure" not in report
    assert "nuclei per mm²" in report
    shutil.copy(tiny_set.image("val"), image)
    with pytest.raises(StoreError, match="has changed since it was predicted"):
        stitch(maps, tmp_path / "out", StitchConfig())
    shutil.copy(tiny_set.image("test"), image)
    stitch(maps, tmp_path / "out", StitchConfig())


def test_calibration_travels_with_the_checkpoint(ran: Path, tiny_set, tmp_path: Path) -> None:
    rows = read_manifest(tiny_set.manifest)
    config = CalibrateConfig(
        device="cpu", foreground_percent=(40, 60), persistence=(0.02, 0.3), smooth_px=(2.0,),
        distance_percent=(50,), fill_holes_px=(0,), min_area_px=(5, 40), rounds=2,
    )  # fmt: skip
    tuned = calibrate(ran / "finetune", rows.of_split("val"), tmp_path / "calibrated", config)
    with (tuned / "calibration.csv").open() as stream:
        trials = list(csv.DictReader(stream))
    scores = [float(trial["pq"]) for trial in trials]
    assert scores == sorted(scores, reverse=True) == [float(trial["score"]) for trial in trials]
    before, after = (read_checkpoint(run).description for run in (ran / "finetune", tuned))
    assert str(after.instances["persistence"]) == trials[0]["persistence"]
    assert [before.instances["persistence"], before.instances["min_area_px"]] in [
        [float(trial["persistence"]), int(trial["min_area_px"])] for trial in trials
    ], "the checkpoint's own numbers were tried too"
    assert read_checkpoint(tuned).sha256 == read_checkpoint(ran / "finetune").sha256
    assert not (tuned / "predictions.zarr").exists()

    val = rows.of_split("val")
    maps = predict(tuned, val, tmp_path / "maps.zarr", PredictConfig(device="cpu"))
    assert open_predictions(maps).instances == after.instances
    stitch(maps, tmp_path / "val", StitchConfig())
    report = evaluate(
        tiny_set.manifest, tmp_path / "val", tmp_path / "r.json", EvaluateConfig(), split="val"
    )
    assert report["pooled_over_nuclei"]["pq"] == pytest.approx(scores[0], abs=1e-4)
    every = config.model_copy(update={"measures": ("pq", "aji", "dice")})
    tuned = calibrate(ran / "finetune", rows.of_split("val"), tmp_path / "of all", every)
    with (tuned / "calibration.csv").open() as stream:
        best, *_ = csv.DictReader(stream)
    of_three = np.mean([float(best[measure]) for measure in ("pq", "aji", "dice")])
    assert float(best["score"]) == pytest.approx(of_three, abs=2e-5)
    balanced = config.model_copy(update={"balance_by": "modality"})
    with pytest.raises(ManifestError, match="column 'modality' is missing; found image"):
        calibrate(ran / "finetune", val, tmp_path / "balanced", balanced)
    assert not (tmp_path / "balanced").exists()
    strict = StitchConfig.model_validate({"instances": {"min_area_px": 99999}})
    stitch(maps, tmp_path / "none", strict)
    assert not tifffile.imread(tmp_path / "none" / "val" / "instances.ome.tif").any()


def test_scores_by_a_column_add_up(ran: Path, tiny_set, tmp_path: Path) -> None:
    lines = tiny_set.manifest.read_text().splitlines()
    stains = ["stain", "blue", "pink", "blue"]
    manifest = tmp_path / "stains.csv"
    manifest.write_text("\n".join(f"{a},{b}" for a, b in zip(lines, stains, strict=True)))
    rows = read_manifest(manifest, data_root=tiny_set.folder)
    out = segment(ran / "finetune", rows, tmp_path / "out", SegmentConfig(device="cpu"))
    report = evaluate(
        manifest, out, tmp_path / "report.json", EvaluateConfig(),
        by="stain", data_root=tiny_set.folder,
    )  # fmt: skip
    groups = report["groups"]
    assert {value: part["images"] for value, part in groups.items()} == {"blue": 2, "pink": 1}
    assert sum(part["annotated_nuclei"] for part in groups.values()) == report["annotated_nuclei"]
    alone = evaluate(
        manifest, out, tmp_path / "val.json", EvaluateConfig(),
        split="val", data_root=tiny_set.folder,
    )  # fmt: skip
    assert groups["pink"]["pooled_over_nuclei"] == alone["pooled_over_nuclei"]
    with pytest.raises(ManifestError, match="column 'organ' is missing; found image, label"):
        evaluate(
            manifest, out, tmp_path / "r.json", EvaluateConfig(),
            by="organ", data_root=tiny_set.folder,
        )  # fmt: skip


def test_training_starts_from_a_checkpoint(ran: Path, tiny_set, tmp_path: Path) -> None:
    import torch

    still = TRAIN.model_copy(update={"epochs": 1, "learning_rate": 1e-9, "ema_decay": 0.0})
    run = train(tiny_set.manifest, tmp_path / "run", still, checkpoint=ran / "train")
    was, now = (read_checkpoint(folder) for folder in (ran / "train", run))
    assert now.description.network == was.description.network
    for (name, before), after in zip(
        was.network.named_parameters(), now.network.parameters(), strict=True
    ):
        assert torch.allclose(before, after, atol=1e-6), name
    odd = TRAIN.model_copy(update={"channels": 1})
    with pytest.raises(CheckpointError, match="takes 3 channels, this training 1"):
        train(tiny_set.manifest, tmp_path / "odd", odd, checkpoint=ran / "train")


def test_evaluate_scores_perfect_and_missing(ran: Path, tiny_set, tmp_path: Path) -> None:
    perfect = tmp_path / "perfect" / "test"
    perfect.mkdir(parents=True)
    annotation = tifffile.imread(tiny_set.folder / "test_label.tif")
    tifffile.imwrite(perfect / "instances.ome.tif", annotation.astype(np.uint32))
    out = tmp_path / "report.json"
    evaluate(tiny_set.manifest, tmp_path / "perfect", out, EvaluateConfig(), split="test")
    report = json.loads(out.read_text())
    assert set(report["mean_over_images"].values()) == {1.0}
    assert set(report["pooled_over_nuclei"].values()) == {1.0}
    with out.with_suffix(".csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert (row["id"], row["pq"], row["ap@0.95"]) == ("test", "1.0", "1.0")
    with pytest.raises(StoreError, match=r"val.instances\.ome\.tif: no such file"):
        evaluate(tiny_set.manifest, tmp_path / "perfect", out, EvaluateConfig(), split="val")
    tifffile.imwrite(perfect / "instances.ome.tif", annotation.T.astype(np.uint32))
    with pytest.raises(ImageError, match="the instance map is 170 x 100 px, the image 100 x 170"):
        evaluate(tiny_set.manifest, tmp_path / "perfect", out, EvaluateConfig(), split="test")


def test_what_was_trained_is_better_than_nothing(ran: Path, tiny_set, tmp_path: Path) -> None:
    report = evaluate(
        tiny_set.manifest,
        ran / "instances",
        tmp_path / "report.json",
        EvaluateConfig(ap_thresholds=(0.5,)),
        split="test",
    )
    assert report["pooled_over_nuclei"]["dice"] > 0.5
    assert "ap@0.50" in report["pooled_over_nuclei"]
    assert "ap@0.75" not in report["pooled_over_nuclei"]


def test_finished_stages_are_not_run_again(ran: Path, tiny_set) -> None:
    before = {file: file.stat().st_mtime_ns for file in ran.rglob("*") if file.is_file()}
    train(tiny_set.manifest, ran / "train", TRAIN)
    tile(tiny_set.manifest, ran / "patches.zarr", TILE)
    finetune_patches(ran / "train", ran / "patches.zarr", ran / "finetune", FINETUNE)
    rows = read_manifest(tiny_set.manifest).of_split("test")
    predict(ran / "finetune", rows, ran / "maps.zarr", PredictConfig(device="cpu"))
    stitch(ran / "maps.zarr", ran / "instances", StitchConfig())
    after = {file: file.stat().st_mtime_ns for file in ran.rglob("*") if file.is_file()}
    assert before == after


def test_training_again_gives_the_same_bytes(ran: Path, tiny_set, tmp_path: Path) -> None:
    again = train(tiny_set.manifest, tmp_path / "again", TRAIN)
    assert read_checkpoint(again).sha256 == read_checkpoint(ran / "train").sha256


@pytest.mark.slow
def test_twice_the_pixels_at_half_the_mpp_change_nothing(ran, tiny_set, tmp_path) -> None:
    """Slides of 0.25 um under a working mpp of 0.5: the same weights, patches, maps and nuclei."""
    lines = ["image,label,split,source_id,mpp"]
    for split in ("train", "val", "test"):
        for name in (f"{split}.ome.tif", f"{split}_label.tif"):
            fine = tifffile.imread(tiny_set.folder / name).repeat(2, axis=0).repeat(2, axis=1)
            if "label" in name:
                write_annotation(tmp_path / name, fine)
            else:
                write_slide(tmp_path / name, fine, mpp=0.25)
        lines.append(f"{split}.ome.tif,{split}_label.tif,{split},source-{split},")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(lines))
    run = train(manifest, tmp_path / "train", TRAIN)
    assert read_checkpoint(run).sha256 == read_checkpoint(ran / "train").sha256
    patches = tile(manifest, tmp_path / "patches.zarr", TILE)
    tuned = finetune_patches(run, patches, tmp_path / "finetune", FINETUNE)
    assert read_checkpoint(tuned).sha256 == read_checkpoint(ran / "finetune").sha256
    rows = read_manifest(manifest).of_split("test")
    maps = predict(tuned, rows, tmp_path / "maps.zarr", PredictConfig(device="cpu"))
    wanted, found = (
        open_predictions(store).images[0].read_map() for store in (ran / "maps.zarr", maps)
    )
    assert np.array_equal(found, wanted)
    stitch(maps, tmp_path / "instances", StitchConfig())
    certificates = [
        json.loads((folder / "instances" / "test" / "certificate.json").read_text())
        for folder in (ran, tmp_path)
    ]
    for fact in ("nuclei", "shape", "probabilities_digest", "instances_digest"):
        assert certificates[0][fact] == certificates[1][fact], fact
    assert certificates[0]["nuclei"] > 0


def test_predictions_killed_between_images_continue(ran, tiny_set, tmp_path, monkeypatch) -> None:
    rows = read_manifest(tiny_set.manifest)
    import nucleipel.stages.pipeline.seen_slide as stage

    whole = predict(ran / "finetune", rows, tmp_path / "whole.zarr", PredictConfig(device="cpu"))
    real, calls = stage.predict_parts, []

    def killed_later(*arguments: object, **named: object) -> Iterator[object]:
        for part in real(*arguments, **named):
            calls.append(1)
            if len(calls) == 5:
                raise KeyboardInterrupt
            yield part

    out = tmp_path / "killed.zarr"
    with monkeypatch.context() as patched:
        patched.setattr(stage, "predict_parts", killed_later)
        with pytest.raises(KeyboardInterrupt):
            predict(ran / "finetune", rows, out, PredictConfig(device="cpu"))
    with pytest.raises(StoreError, match="was not finished"):
        open_predictions(out)
    predict(ran / "finetune", rows, out, PredictConfig(device="cpu"))
    for one, other in zip(
        open_predictions(whole).images, open_predictions(out).images, strict=True
    ):
        assert np.array_equal(one.read_map(), other.read_map())


def test_a_missing_shard_is_not_read_as_background(ran: Path, tmp_path: Path) -> None:
    store = tmp_path / "maps.zarr"
    shutil.copytree(ran / "maps.zarr", store)
    next(file for file in (store / "test" / "map" / "c").rglob("*") if file.is_file()).unlink()
    with pytest.raises(StoreError, match=r"has \d+ shards, its record says"):
        stitch(store, tmp_path / "out", StitchConfig())


def test_what_a_killed_run_left_of_a_shard_is_no_shard(ran: Path, tmp_path: Path) -> None:
    store = tmp_path / "maps.zarr"
    shutil.copytree(ran / "maps.zarr", store)
    shard = next(file for file in (store / "test" / "map" / "c").rglob("*") if file.is_file())
    shard.with_name("0.67d3235.partial").write_bytes(b"half a shard")
    for one, other in zip(
        open_predictions(ran / "maps.zarr").images, open_predictions(store).images, strict=True
    ):
        assert np.array_equal(one.read_map(), other.read_map())


def test_checkpoint_and_patches_must_fit(ran: Path, tiny_set, tmp_path: Path) -> None:
    other_mpp = tile(
        tiny_set.manifest, tmp_path / "pixels.zarr", TILE.model_copy(update={"mpp": None})
    )
    with pytest.raises(StoreError, match=r"patches of mpp None with 3 .* takes mpp 0\.5"):
        finetune_patches(ran / "train", other_mpp, tmp_path / "run", FINETUNE)
    odd = tile(tiny_set.manifest, tmp_path / "odd.zarr", TILE.model_copy(update={"patch_px": 50}))
    with pytest.raises(StoreError, match=r"patches of 50 px; .* takes multiples of 4"):
        finetune_patches(ran / "train", odd, tmp_path / "run", FINETUNE)
    side = open_patch_store(ran / "patches.zarr").patch_px
    cut = FINETUNE.model_copy(update={"pel": PELConfig(block_px=side - 1)})
    with pytest.raises(StoreError, match=rf"of {side} px, which pel.block_px {side - 1} does not"):
        finetune_patches(ran / "train", ran / "patches.zarr", tmp_path / "run", cut)
    assert not (tmp_path / "run").exists()


def test_nothing_to_tile_is_reported(tiny_set, tmp_path: Path) -> None:
    manifest = tmp_path / "bare.csv"
    manifest.write_text(f"image,label,split,source_id\n{tiny_set.image('train')},,train,a\n")
    with pytest.raises(ManifestError, match="no row to tile has a label"):
        tile(manifest, tmp_path / "p.zarr", TILE.model_copy(update={"splits": ("train",)}))
