"""Panels of deviations show the values of the networks and the losses."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.untrained import small_network, write_untrained

from nucleipel.config import DeviationConfig
from nucleipel.errors import CheckpointError, ManifestError, OutputError
from nucleipel.figures.deviation_panels import Moment
from nucleipel.io.manifest import Manifest, read_manifest
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.stages.experiments.deviation import deviation

pytestmark = pytest.mark.slow

SPEC = small_network(block_px=1)
CPU = DeviationConfig(device="cpu", patch_px=64)


def _write_run(
    folder: Path, *, seed: int, boundary_px: int = 2, core_px: int = 32, min_area_px: int = 10
) -> Path:
    return write_untrained(
        folder, SPEC, seed=seed, core_px=core_px, boundary_px=boundary_px,
        instances={"min_area_px": min_area_px},
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return _write_run(folder / "before", seed=0), _write_run(folder / "after", seed=1)


@pytest.fixture(scope="module")
def rows(tiny_set) -> Manifest:
    return read_manifest(tiny_set.manifest)


@pytest.fixture(scope="module")
def drawn(runs, rows, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("drawn") / "out"
    return deviation(runs[0], rows, out, CPU, after=runs[1])


def _table(out: Path) -> list[dict[str, str]]:
    with (out / "deviations.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_panel_and_numbers_for_each_image_and_network(drawn: Path) -> None:
    rows = _table(drawn)
    assert [(row["id"], row["moment"]) for row in rows] == [
        (name, moment) for name in ("train", "val", "test") for moment in ("before", "after")
    ]
    for name in ("train", "val", "test"):
        picture = np.asarray(Image.open(drawn / "panels" / f"{name}.png"))
        assert picture.shape[0] > 500
        assert picture.shape[1] > 1000
        assert picture[..., :3].std() > 10, "not blank"
    assert (drawn / "histogram.png").read_bytes().startswith(b"\x89PNG")
    for row in rows:
        assert (row["height_px"], row["width_px"]) == ("64", "64")
        shares = [float(value) for key, value in row.items() if "pull" in key or "share" in key]
        assert all(0 <= share <= 1 for share in shares)
        assert row["original_pull_on_missed"] == row["dice_pull_on_missed"]


def test_the_deviation_is_1_minus_p_of_the_annotated_class(drawn, runs, rows) -> None:
    from nucleipel.inference.probability_map import predict_part
    from nucleipel.instances.training_targets import class_targets
    from nucleipel.io.slides.slide import open_slide, read_annotation

    row = next(row for row in rows if row.id == "val")
    model = read_checkpoint(runs[0])
    from nucleipel.core.geometry import Box

    with open_slide(row.image) as slide:
        stored = predict_part(
            model.network,
            slide,
            Box.of_shape(slide.shape),
            intensity=slide.intensity_range(),
            grid=model.description.grid,
            channels=3,
            maps=4,
            device=torch.device("cpu"),
        )
    targets = class_targets(read_annotation(row.label), boundary_px=2)
    missing = 1 - np.take_along_axis(stored[:3] / 255, targets[None].astype(int), axis=0)[0]
    found = next(row for row in _table(drawn) if row["id"] == "val" and row["moment"] == "before")
    y, x = int(found["y0_px"]), int(found["x0_px"])
    here = missing[y : y + 64, x : x + 64]
    assert float(found["mean_deviation"]) == pytest.approx(here.mean(), abs=2e-3)
    # the patch with the largest deviation is the one that is shown
    sums = [missing[a : a + 64, b : b + 64].sum() for a in (0, 32, 64) for b in (0, 32, 64)]
    assert here.sum() == pytest.approx(max(sums), rel=1e-2)


def test_numbers_of_a_moment_by_hand() -> None:
    moment = Moment(
        "now",
        classes=np.zeros((2, 2), int),
        deviation=np.array([[0.0, 0.2], [0.6, 1.0]], np.float32),
        pulls={"dice": np.array([[1.0, -1], [-2, 4]], np.float32)},
    )
    numbers = moment.numbers()
    assert numbers["mean_deviation"] == pytest.approx(0.45)
    assert numbers["share_missed"] == 0.5
    assert numbers["dice_pull_on_missed"] == pytest.approx(6 / 8)
    assert numbers["dice_pull_away"] == pytest.approx(3 / 8)
    counts = moment.histogram()
    assert (counts[0], counts[10], counts[30], counts[-1], sum(counts)) == (1, 1, 1, 1, 4)


def test_one_network_alone_and_images_by_id(runs, rows, tmp_path) -> None:
    chosen = rows.of_ids(["test"])
    out = deviation(runs[0], chosen, tmp_path / "out", CPU)
    assert [row["moment"] for row in _table(out)] == ["now"]
    assert [file.name for file in (out / "panels").glob("*.png")] == ["test.png"]
    with pytest.raises(ManifestError, match="no image has the id 'tset'; did you mean 'test'"):
        rows.of_ids(["tset"])


def test_interrupted_it_draws_only_what_is_missing(drawn, runs, rows, tmp_path, monkeypatch):
    import nucleipel.stages.experiments.deviation as stage

    real, names = stage._draw_image, []

    def killed_later(models, row, *arguments, **named):
        if len(names) == 1:
            raise KeyboardInterrupt
        names.append(row.id)
        real(models, row, *arguments, **named)

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(stage, "_draw_image", killed_later)
        with pytest.raises(KeyboardInterrupt):
            deviation(runs[0], rows, out, CPU, after=runs[1])
    assert not json.loads((out / "nucleipel.json").read_text())["complete"]
    first = out / "panels" / "train.png"
    before = first.stat().st_mtime_ns
    deviation(runs[0], rows, out, CPU, after=runs[1])
    assert first.stat().st_mtime_ns == before
    for name in ("deviations.csv", "histogram.png", "panels/train.png", "panels/test.png"):
        assert (out / name).read_bytes() == (drawn / name).read_bytes(), name


def test_networks_that_are_not_alike(runs, rows, tmp_path) -> None:
    other = _write_run(tmp_path / "other", seed=0, boundary_px=1)
    with pytest.raises(CheckpointError, match="boundary_px 1, --checkpoint has 2; give a network"):
        deviation(runs[0], rows, tmp_path / "out", CPU, after=other)
    assert not (tmp_path / "out").exists()


def test_a_small_image_is_predicted_as_predict_does_it(runs, rows, tmp_path, monkeypatch) -> None:
    import nucleipel.inference.probability_map as windows

    real, sides = windows._Forward.__call__, []

    def spied(forward, stack):
        sides.append(stack.shape[-1])
        return real(forward, stack)

    monkeypatch.setattr(windows._Forward, "__call__", spied)
    large = _write_run(tmp_path / "large", seed=0, core_px=1024)
    out = deviation(large, rows.of_ids(["val"]), tmp_path / "out", CPU)
    halo_px = read_checkpoint(large).description.grid.halo_px
    assert sides == [128 + 2 * halo_px], "one window, no larger than the image and its halo"
    small = deviation(runs[0], rows.of_ids(["val"]), tmp_path / "small", CPU)
    one, other = _table(out)[0], _table(small)[0]
    assert one.keys() == other.keys()
    for name in one.keys() - {"id", "moment"}:
        assert float(one[name]) == pytest.approx(float(other[name]), abs=1e-4), name


def test_a_checkpoint_described_otherwise_is_another_input(runs, rows, tmp_path) -> None:
    out = tmp_path / "out"
    deviation(runs[0], rows.of_ids(["test"]), out, CPU)
    described = _write_run(tmp_path / "other", seed=0, min_area_px=5)
    with pytest.raises(OutputError, match="another now"):
        deviation(described, rows.of_ids(["test"]), out, CPU)
