"""A torch module of the user's own, where a checkpoint is expected."""

import numpy as np
import pytest
import torch
from support.untrained import small_network

import nucleipel as npl
from nucleipel.errors import ArgumentError, CheckpointError
from nucleipel.io.slides.write_slide import write_slide
from nucleipel.model.network import build_network

IMAGE = npl.datasets.sample(80).image


class ThreeClasses(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        return self.network(image)[:, :3]


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(1)
    return build_network(small_network(block_px=1)).eval()


def test_is_the_checkpoint_of_its_weights(network, random_checkpoint):
    """The fixture's checkpoint has this network with these weights."""
    stored = npl.load(random_checkpoint)
    own = npl.load(
        network, channels=3, stride=2, mpp=0.5, core_px=16,
        instances=stored.checkpoint.description.instances,
    )  # fmt: skip
    assert own.receptive_radius_px == stored.receptive_radius_px
    assert (own.predict(IMAGE, mpp=0.5) == stored.predict(IMAGE, mpp=0.5)).all()
    assert (own(IMAGE, mpp=0.5) == stored(IMAGE, mpp=0.5)).all()


def test_without_a_distance(network):
    model = npl.load(ThreeClasses(network), channels=3, stride=2, core_px=32)
    maps = model.predict(IMAGE)
    assert model.maps == ("background", "interior", "boundary")
    assert maps.shape == (3, 80, 80)
    assert np.abs(maps.astype(int).sum(axis=0) - 255).max() <= 2
    assert (model.instances(maps) == npl.segment(IMAGE, model=model)).all()


def test_the_module_is_not_changed(network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    npl.load(network, channels=3, stride=2, core_px=32)(IMAGE)
    assert network.state_dict().keys() == before.keys()
    assert all((network.state_dict()[name] == before[name]).all() for name in before)


def test_one_that_sees_the_whole_window():
    unbounded = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.InstanceNorm2d(4))
    with pytest.raises(CheckpointError, match=r"cannot be tiled exactly.*accept_seams"):
        npl.load(unbounded, channels=3, stride=1)
    model = npl.load(unbounded, channels=3, stride=1, accept_seams=True)
    certificate = model.segment(IMAGE).certificate
    assert (certificate["canonical_map"], certificate["equal_to_uncut"]) == (False, False)


def test_what_does_not_fit(network):
    with pytest.raises(ArgumentError, match="needs channels= and stride="):
        npl.load(network)
    with pytest.raises(CheckpointError, match=r"fails on \(1, 1, 256, 256\)"):
        npl.load(network, channels=1, stride=2)
    with pytest.raises(CheckpointError, match="core_px 33: expected a multiple of the stride"):
        npl.load(network, channels=3, stride=2, core_px=33)
    with pytest.raises(CheckpointError, match="expected 3 or 4 logits a pixel"):
        npl.load(torch.nn.Conv2d(3, 2, 1), channels=3, stride=1)


def test_segments_slides_too(tmp_path, network):
    write_slide(tmp_path / "image.ome.tif", IMAGE, mpp=None)
    model = npl.load(ThreeClasses(network), channels=3, stride=2, core_px=32)
    result = npl.segment_slide(tmp_path / "image.ome.tif", out=tmp_path / "out", model=model)
    assert (result.labels[:] == model(IMAGE)).all()
    again = npl.load(ThreeClasses(network), channels=3, stride=2, core_px=32)
    npl.segment_slide(tmp_path / "image.ome.tif", out=tmp_path / "out", model=again)
    with torch.no_grad():
        next(network.parameters()).add_(1)
    other = npl.load(ThreeClasses(network), channels=3, stride=2, core_px=32)
    with pytest.raises(npl.errors.OutputError, match="checkpoint"):
        npl.segment_slide(tmp_path / "image.ome.tif", out=tmp_path / "out", model=other)
