"""Receptive radii: known by hand, confirmed by changed pixels, refused when unbounded."""

import pytest
import torch
from torch import nn

from nucleipel.model.network import NetworkSpec, build_network
from nucleipel.model.receptive_field import receptive_radius

SMALL = NetworkSpec(
    "unet", features=(4, 8, 16), residual_units=1, in_channels=3, classes=3, block_px=1
)
NETWORKS = {
    "unet": SMALL,
    "unet without residual units": NetworkSpec("unet", (4, 8, 16), 0, 1, 3, 1),
    "default unet": NetworkSpec("unet", (2, 3, 4, 5, 6), 2, 1, 3, 2),
    "strided unet": NetworkSpec("unet", (2, 3, 4, 5, 6), 2, 1, 3, 1),
    "basic unet": NetworkSpec("basic_unet", (2, 2, 3, 3, 4, 2), 0, 1, 3, 1),
    "basic unet of blocks": NetworkSpec("basic_unet", (2, 2, 3, 3, 4, 2), 0, 1, 3, 2),
}


@pytest.mark.parametrize(
    ("network", "stride", "radius"),
    [
        pytest.param(nn.Conv2d(1, 1, 1), 1, 0, id="one pixel"),
        pytest.param(nn.Conv2d(1, 2, 3, padding=1), 1, 1, id="3 x 3"),
        pytest.param(nn.Conv2d(1, 2, 3, padding=2, dilation=2), 1, 2, id="dilated"),
        pytest.param(
            nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 7, padding=3)),
            1,
            4,
            id="3 x 3, 7 x 7",
        ),
        pytest.param(nn.Sequential(nn.MaxPool2d(2), nn.Upsample(scale_factor=2)), 2, 1, id="pool"),
        # 1 px left, 2 px right: the farther of the two, though a maximum of equal values
        # passes its gradient to the first of them only
        pytest.param(nn.Sequential(nn.ZeroPad2d((1, 2, 1, 2)), nn.MaxPool2d(4, 1)), 1, 2, id="max"),
    ],
)
def test_radius_known_by_hand(network: nn.Module, stride: int, radius: int) -> None:
    assert receptive_radius(network, in_channels=1, stride=stride) == radius


@pytest.mark.parametrize("spec", NETWORKS.values(), ids=NETWORKS)
def test_no_pixel_beyond_the_radius_changes_the_output(spec: NetworkSpec) -> None:
    torch.manual_seed(0)
    network = build_network(spec).double().eval()
    radius = receptive_radius(network, in_channels=spec.in_channels, stride=spec.stride)
    side = 2 * (-(-(radius + 1) // spec.stride) + 1) * spec.stride
    center = side // 2
    image = torch.rand(1, spec.in_channels, side, side, dtype=torch.float64)
    with torch.no_grad():
        before = network(image)[0, :, center, center]
        beyond = torch.rand_like(image) * 9
        near = slice(center - radius, center + radius + 1)
        beyond[..., near, near] = image[..., near, near]
        assert torch.equal(network(beyond)[0, :, center, center], before)


@pytest.mark.parametrize("name", ["unet", "unet without residual units"])
def test_some_pixel_at_the_radius_changes_the_output(name: str) -> None:
    """The radius is no upper bound only: a halo one pixel smaller would not do."""
    spec = NETWORKS[name]
    torch.manual_seed(1)
    network = build_network(spec).double().eval()
    radius = receptive_radius(network, in_channels=spec.in_channels, stride=spec.stride)
    side = 4 * (-(-radius // spec.stride) + 2) * spec.stride
    image = torch.rand(1, spec.in_channels, side, side, dtype=torch.float64)
    with torch.no_grad():
        before = network(image)
        reached = 0
        for phase in range(spec.stride):
            changed = image.clone()
            changed[..., side // 2 + phase, :] += 1e3
            rows = (network(changed) - before)[0].abs().amax(dim=(0, 2)).nonzero()
            reached = max(reached, int((rows - (side // 2 + phase)).abs().max()))
    assert reached == radius


def test_the_default_network_sees_111_px() -> None:
    spec = NetworkSpec("unet", (32, 48, 96, 192, 256), 2, 3, 3, 2)
    assert receptive_radius(build_network(spec), in_channels=3, stride=spec.stride) == 111


def test_the_weights_do_not_matter() -> None:
    radii = set()
    for seed in range(3):
        torch.manual_seed(seed)
        network = build_network(SMALL)
        for parameter in network.parameters():
            nn.init.zeros_(parameter) if seed == 2 else nn.init.normal_(parameter)
        kept = [parameter.clone() for parameter in network.parameters()]
        radii.add(receptive_radius(network, in_channels=3, stride=SMALL.stride))
        assert all(torch.equal(*pair) for pair in zip(kept, network.parameters(), strict=True))
    assert len(radii) == 1


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(
            nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.InstanceNorm2d(2)), id="instance norm"
        ),
        pytest.param(
            nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4)), id="group norm"
        ),
    ],
)
def test_a_network_without_a_bounded_window_is_refused(network: nn.Module) -> None:
    with pytest.raises(ValueError, match="cannot be tiled exactly; use BatchNorm"):
        receptive_radius(network, in_channels=1, stride=1)
