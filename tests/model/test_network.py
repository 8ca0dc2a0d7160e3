"""A network with BatchNorm folded into its convolutions gives the same output."""

import dataclasses

import pytest
import torch
from torch import nn

from nucleipel.model.network import NetworkSpec, build_network, fold_batch_norm

SPECS = {
    "unet on blocks": NetworkSpec("unet", (8, 12, 16), 2, in_channels=3, classes=3, block_px=2),
    "unet": NetworkSpec("unet", (8, 12), 1, in_channels=1, classes=3, block_px=1),
    "basic_unet": NetworkSpec("basic_unet", (4, 4, 8, 8, 8, 4), 0, 3, classes=3, block_px=2),
}


def _trained(spec: NetworkSpec) -> nn.Module:
    """A network whose BatchNorm is far from doing nothing."""
    torch.manual_seed(0)
    network = build_network(spec)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


@pytest.mark.parametrize("name", SPECS)
@torch.inference_mode()
def test_outputs_are_those_of_before(name: str) -> None:
    spec = SPECS[name]
    network, image = _trained(spec), torch.rand(2, spec.in_channels, 64, 64)
    before = network(image)
    fold_batch_norm(network)
    torch.testing.assert_close(network(image), before, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@torch.inference_mode()
def test_instance_norm_stays() -> None:
    spec = dataclasses.replace(SPECS["unet"], norm="instance")
    network, image = build_network(spec).eval(), torch.rand(1, 1, 64, 64)
    before = network(image)
    fold_batch_norm(network)
    assert torch.equal(network(image), before)
    assert any(isinstance(module, nn.InstanceNorm2d) for module in network.modules())
