"""Patches are drawn by their deviation under the start checkpoint, which is computed once."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.untrained import State, small_network, write_untrained

from nucleipel.config import FinetunePatchesConfig, TileConfig
from nucleipel.data.patch_samples import TrainingPatches
from nucleipel.data.sampling_order import drawn_item_of
from nucleipel.instances.training_targets import class_targets, one_hot
from nucleipel.io.evaluation_report import read_table
from nucleipel.io.stores.patches import open_patch_store
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.stages.pipeline.finetune_patches import finetune_patches
from nucleipel.stages.pipeline.tile import tile
from nucleipel.training.training_log import read_training_log

pytestmark = pytest.mark.slow

CONFIG = FinetunePatchesConfig(
    device="cpu",
    workers=0,
    epochs=2,
    patches_per_epoch=16,
    batch_size=4,
    warmup_steps=1,
    sampling="deviation",
    keep="last",
)


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    def all_background(weights: State) -> State:
        """So that patches deviate by their nuclei."""
        weights[[name for name in weights if name.endswith("conv.bias")][-1]][0] += 3
        return weights

    folder = tmp_path_factory.mktemp("start")
    return write_untrained(folder, small_network(block_px=1), changed=all_background)


@pytest.fixture(scope="module")
def patches(tiny_set, tmp_path_factory) -> Path:
    store = tmp_path_factory.mktemp("patches") / "patches.zarr"
    return tile(tiny_set.manifest, store, TileConfig(mpp=0.5, patch_px=64, overlap_px=16))


def test_patches_are_drawn_by_the_sums_in_the_table(start, patches, tmp_path, monkeypatch) -> None:
    drawn: dict[int, int] = {}
    real = TrainingPatches._item

    def spied(self: TrainingPatches, number: int) -> int:
        drawn[number] = real(self, number)
        return drawn[number]

    monkeypatch.setattr(TrainingPatches, "_item", spied)
    out = finetune_patches(start, patches, tmp_path / "out", CONFIG)
    table = read_table(out / "deviations.csv")
    store = open_patch_store(patches)
    rows = store.of_split("train")
    assert [int(row["index"]) for row in table] == [row.index for row in rows]
    network = read_checkpoint(start).network
    sums = []
    for row in rows:
        pixels, ids, _ = store.read(row)
        with torch.inference_mode():
            outputs = network(torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()))
        p = outputs[0, :3].softmax(dim=0).numpy().astype(np.float64)
        onehot = one_hot(class_targets(ids, boundary_px=2))
        sums.append((1 - (p * onehot).sum(axis=0)).sum())
    weights = tuple(float(row["sum"]) for row in table)
    assert np.allclose(weights, sums, rtol=1e-4)
    assert np.ptp(weights) > 0.1 * max(weights), "patches differ"
    assert drawn == {
        number: drawn_item_of(number, weights=weights, seed=0) for number in range(2 * 16)
    }


def test_a_killed_run_ends_with_the_same_weights(start, patches, tmp_path, monkeypatch) -> None:
    import nucleipel.training.fit as fit

    whole = finetune_patches(start, patches, tmp_path / "whole", CONFIG)
    out, real, epochs = tmp_path / "out", fit._Training.run_epoch, []

    def killed_later(*arguments, **named):
        if epochs:
            raise KeyboardInterrupt
        epochs.append(1)
        return real(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(fit._Training, "run_epoch", killed_later)
        with pytest.raises(KeyboardInterrupt):
            finetune_patches(start, patches, out, CONFIG)
    before = (out / "deviations.csv").stat().st_mtime_ns
    finetune_patches(start, patches, out, CONFIG)
    assert (out / "deviations.csv").stat().st_mtime_ns == before
    for name in ("deviations.csv", "checkpoint.safetensors"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert read_training_log(out) == read_training_log(whole)


def test_uniform_sampling_computes_nothing(start, patches, tmp_path) -> None:
    config = CONFIG.model_copy(update={"sampling": "uniform"})
    out = finetune_patches(start, patches, tmp_path / "out", config)
    assert not (out / "deviations.csv").exists()


def test_numbers_for_stained_tissue_stay_but_for_those_that_are_set(patches, tmp_path) -> None:
    start = write_untrained(
        tmp_path / "start", small_network(block_px=1),
        instances={"min_area_px": 5}, stained_instances={"min_area_px": 9, "smooth_px": 2.0},
    )  # fmt: skip
    short = {"sampling": "uniform", "epochs": 1, "patches_per_epoch": 4}
    config = CONFIG.model_copy(
        update={**short, "instances": CONFIG.instances.model_copy(update={"min_area_px": 7})}
    )
    out = finetune_patches(start, patches, tmp_path / "out", config)
    description = read_checkpoint(out).description
    assert description.instances_of(stained=False)["min_area_px"] == 7
    assert description.instances_of(stained=True)["min_area_px"] == 7, "set for all images"
    assert description.stained_instances == {"smooth_px": 2.0}
