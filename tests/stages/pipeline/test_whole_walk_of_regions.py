"""A slide with annotated regions through all stages, beside the same regions cut out as images."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import zarr
from support.sparse_slide import region_boxes, write_sparse_slide

from nucleipel.config import (
    CalibrateConfig,
    EvaluateConfig,
    FinetunePatchesConfig,
    SegmentConfig,
    TileConfig,
    TrainConfig,
)
from nucleipel.io.manifest import read_manifest
from nucleipel.io.slides.write_slide import write_slide
from nucleipel.io.stores.patches import PatchStore, open_patch_store
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.stages.pipeline.calibrate import calibrate
from nucleipel.stages.pipeline.evaluate import evaluate
from nucleipel.stages.pipeline.finetune_patches import finetune_patches
from nucleipel.stages.pipeline.segment import segment
from nucleipel.stages.pipeline.tile import tile
from nucleipel.stages.pipeline.train import train

pytestmark = pytest.mark.slow

SIZES = {"train": (20_000, 6), "val": (3000, 1)}
"""Side of each split's slide, and its regions."""
RANGE = {"intensity_range": ((20.0, 245.0),)}
FIT = {"device": "cpu", "workers": 0, "epochs": 1, "batch_size": 2, "warmup_steps": 0}
FROM = Path("default")


@dataclass(frozen=True)
class Walk:
    """A manifest, and what the stages made of it."""

    manifest: Path
    trained: Path
    patches: PatchStore
    tuned: Path


@pytest.fixture(scope="module")
def slides(tmp_path_factory) -> dict[str, Path]:
    """The manifest of the slides, and that of their regions as images; one region a row."""
    folder = tmp_path_factory.mktemp("walk")
    whole = ["id,image,label,split,source_id,region"]
    cut = ["id,image,label,split,source_id"]
    for split, (size_px, count) in SIZES.items():
        (folder / split).mkdir()
        write_sparse_slide(folder / split, size_px, regions=count)
        names = (f"{split}/{name}" for name in ("slide.zarr", "label.geojson", "region.geojson"))
        image, label, region = names
        whole.append(f"{split},{image},{label},{split},{split},{region}")
        pixels = zarr.open_array(folder / image / "0", mode="r")
        nuclei = json.loads((folder / label).read_text())["features"]
        for number, box in enumerate(region_boxes(size_px, count)):
            name = f"{split}/{number:02d}"
            part = np.asarray(pixels[(slice(None), *box.slices)]).transpose(1, 2, 0)
            write_slide(folder / f"{name}.ome.tif", part, mpp=None)
            corners = np.array([box.x0, box.y0])
            own = [_moved(nucleus, -corners) for nucleus in nuclei]
            inside = [nucleus for nucleus in own if _starts_in(nucleus, box.shape[0])]
            (folder / f"{name}.geojson").write_text(json.dumps({"features": inside}))
            cut.append(f"{split}-{number},{name}.ome.tif,{name}.geojson,{split},{split}")
    for name, lines in (("whole", whole), ("cut", cut)):
        (folder / f"{name}.csv").write_text("\n".join(lines))
    return {name: folder / f"{name}.csv" for name in ("whole", "cut")}


def _moved(nucleus: dict, by: np.ndarray) -> dict:
    rings = [(np.array(ring) + by).tolist() for ring in nucleus["geometry"]["coordinates"]]
    return {**nucleus, "geometry": {"type": "Polygon", "coordinates": rings}}


def _starts_in(nucleus: dict, side_px: int) -> bool:
    corner = nucleus["geometry"]["coordinates"][0][0]
    return all(0 <= value < side_px for value in corner)


@pytest.fixture(scope="module")
def walks(slides, tmp_path_factory) -> dict[str, Walk]:
    return {
        name: _walk(manifest, tmp_path_factory.mktemp(name)) for name, manifest in slides.items()
    }


def _walk(manifest: Path, out: Path) -> Walk:
    trained = train(
        manifest, out / "train",
        TrainConfig(**FIT, **RANGE, window_px=256, windows_per_epoch=6, validation_windows=3),
        checkpoint=FROM,
    )  # fmt: skip
    patches = tile(manifest, out / "patches.zarr", TileConfig(**RANGE))
    tuned = finetune_patches(
        trained, patches, out / "tune", FinetunePatchesConfig(**FIT, patches_per_epoch=4)
    )
    return Walk(manifest, trained, open_patch_store(patches), tuned)


def _metrics(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    kept = ("loss", "val_loss", "val_dice", "val_pq")
    return [{name: float(row[name]) for name in kept if row.get(name)} for row in rows]


def test_losses_and_scores_are_those_of_the_regions_cut_out(walks) -> None:
    whole, cut = walks["whole"], walks["cut"]
    for stage in ("trained", "tuned"):
        pairs = zip(*(_metrics(getattr(walk, stage)) for walk in (whole, cut)), strict=True)
        for one, other in pairs:
            assert one == pytest.approx(other, rel=1e-5), stage
            assert one["val_pq"] > 0
    weights = [read_checkpoint(walk.tuned).network.state_dict() for walk in (whole, cut)]
    for name, tensor in weights[0].items():
        assert np.allclose(tensor.numpy(), weights[1][name].numpy(), atol=1e-5), name


def test_patches_are_those_of_the_regions_cut_out(walks) -> None:
    whole, cut = walks["whole"].patches, walks["cut"].patches
    assert len(whole.rows) == len(cut.rows) > 50
    for one, other in zip(whole.rows[::7], cut.rows[::7], strict=True):
        pixels, ids, counted = whole.read(one)
        assert counted is None
        other_pixels, other_ids, _ = cut.read(other)
        assert np.array_equal(pixels, other_pixels)
        assert np.array_equal(ids > 0, other_ids > 0)


def test_the_walk_ends_with_scores_of_the_regions(walks, slides, tmp_path: Path) -> None:
    rows = read_manifest(slides["whole"]).of_split("val")
    few: dict[str, tuple] = dict.fromkeys(CalibrateConfig().candidates(), ())
    config = CalibrateConfig(
        **few | {"foreground_percent": (40, 60)}, **RANGE, device="cpu", rounds=1
    )
    calibrated = calibrate(walks["whole"].tuned, rows, tmp_path / "calibrated", config)
    assert not (calibrated / "predictions.zarr").exists()
    region = slides["whole"].parent / "val" / "region.geojson"
    result = segment(
        calibrated, rows, tmp_path / "result",
        SegmentConfig(**RANGE, device="cpu", tissue=str(region), intensities=False),
    )  # fmt: skip
    report = evaluate(
        slides["whole"], result, tmp_path / "report.json", EvaluateConfig(), split="val"
    )
    assert report["scored_percent"] == pytest.approx(100 * 700**2 / SIZES["val"][0] ** 2, rel=1e-3)
    with (calibrated / "calibration.csv").open() as stream:
        best = next(csv.DictReader(stream))
    pooled = report["pooled_over_nuclei"]
    assert pooled["pq"] == pytest.approx(float(best["pq"]), abs=1e-4)
    assert pooled["dice"] > 0.3
