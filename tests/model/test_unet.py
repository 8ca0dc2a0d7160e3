"""The networks are MONAI's: names, random weights and outputs."""

import pytest
import torch
from torch import nn

from nucleipel.model.network import NetworkSpec, build_network
from nucleipel.model.unet import BasicUNet, UNet

SPECS = [
    ("unet", (8, 16, 24), 2, 1, "batch"),
    ("unet", (8, 16, 24, 32), 2, 2, "batch"),
    ("unet", (8, 16), 0, 1, "batch"),
    ("unet", (8, 16, 24), 1, 2, "instance"),
    ("basic_unet", (8, 8, 16, 16, 24, 8), 0, 1, "batch"),
    ("basic_unet", (8, 8, 16, 16, 24, 12), 0, 2, "instance"),
]


def _monai(spec: NetworkSpec) -> nn.Module:
    from monai.networks import nets

    pixels = spec.block_px**2
    shared = {
        "spatial_dims": 2,
        "in_channels": spec.in_channels * pixels,
        "out_channels": (spec.classes + 1) * pixels,
        "norm": spec.norm,
    }
    if spec.family == "basic_unet":
        return nets.BasicUNet(features=spec.features, **shared)
    return nets.UNet(
        channels=spec.features,
        strides=(2 // spec.block_px,) + (2,) * (len(spec.features) - 2),
        num_res_units=spec.residual_units,
        **shared,
    )


@pytest.mark.parametrize(("family", "features", "units", "block_px", "norm"), SPECS)
def test_equals_monai(family, features, units, block_px, norm) -> None:
    spec = NetworkSpec(family, features, units, 3, 3, block_px, norm)
    torch.manual_seed(3)
    ours = build_network(spec)
    torch.manual_seed(3)
    theirs = _monai(spec)
    core = ours if block_px == 1 else ours[1]
    assert isinstance(core, (UNet, BasicUNet))
    state, expected = core.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in state)
    images = torch.rand(2, 3 * block_px**2, 64, 96)
    for training in (True, False):
        core.train(training), theirs.train(training)
        got, wanted = core(images), theirs(images)
        assert torch.equal(got, wanted)
        got.square().mean().backward(), wanted.square().mean().backward()
        for (name, ours_), (_, theirs_) in zip(
            core.named_parameters(), theirs.named_parameters(), strict=True
        ):
            assert torch.equal(ours_.grad, theirs_.grad), name


def test_odd_lengths_are_padded_as_monai_does() -> None:
    spec = NetworkSpec("basic_unet", (8, 8, 16, 16, 24, 8), 0, 1, 3, 1, "batch")
    torch.manual_seed(0)
    ours = build_network(spec).eval()
    theirs = _monai(spec).eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.rand(1, 1, 51, 70)
    assert torch.equal(ours(images), theirs(images))
