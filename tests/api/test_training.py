"""Training, tiles and fine-tuning from Python: the same runs as the commands'."""

import json

import pytest

import nucleipel as npl
from nucleipel.io.records.output import RECORD

pytestmark = pytest.mark.slow

TINY = {
    "device": "cpu", "workers": 0, "epochs": 1, "mpp": 0.5, "window_px": 64, "core_px": 32,
    "windows_per_epoch": 4, "batch_size": 2, "network": {"features": (16, 24)},
}  # fmt: skip


def test_from_a_manifest_to_a_model(tmp_path, tiny_set):
    run = npl.train(tiny_set.manifest, out=tmp_path / "run", **TINY)
    assert (run.mpp, run.channels, run.source) == (0.5, 3, str(tmp_path / "run"))
    patches = npl.tile(
        tiny_set.manifest, out=tmp_path / "patches.zarr", mpp=0.5, patch_px=64, overlap_px=16
    )
    tuned = npl.finetune_patches(
        tmp_path / "run", patches, out=tmp_path / "tuned", device="cpu", workers=0, epochs=1,
        batch_size=4, pel={"form": "deviation"},
    )  # fmt: skip
    record = json.loads((tmp_path / "tuned" / RECORD).read_text())
    assert record["config"]["pel"]["form"] == "deviation"
    assert record["inputs"]["checkpoint"] == run.checkpoint.fingerprint
    sample = npl.datasets.sample(64)
    assert tuned(sample.image, mpp=sample.mpp).shape == (64, 64)


def test_wrong_settings_are_refused_before_any_work(tmp_path, tiny_set):
    with pytest.raises(npl.errors.ConfigError, match=r"train\(\): unknown key 'epoch'; did you"):
        npl.train(tiny_set.manifest, out=tmp_path / "run", epoch=3)
    with pytest.raises(npl.errors.ConfigError, match=r"tile\(\): patch_px is -1"):
        npl.tile(tiny_set.manifest, out=tmp_path / "patches.zarr", patch_px=-1)
    with pytest.raises(npl.errors.ArgumentError, match="mpp: 0; expected micrometers"):
        npl.train(tiny_set.manifest, out=tmp_path / "run", mpp=0)
    assert not list(tmp_path.iterdir())


def test_pel_is_a_torch_module():
    import torch

    logits = torch.zeros(1, 3, 8, 8, requires_grad=True)
    one_hot = torch.zeros(1, 3, 8, 8)
    one_hot[:, 1] = 1
    npl.PELoss()(logits, one_hot).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
