"""A widened network begins where the narrower one was, and learns with what it was given."""

import dataclasses

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from untrained import network_with_statistics

from nucleipel.model.network import NetworkSpec, build_network
from nucleipel.model.widen import widened, widened_spec

SPEC = NetworkSpec("unet", (4, 5, 6), 2, in_channels=3, classes=3, block_px=2)


@settings(max_examples=20, deadline=None)
@given(
    more=st.tuples(*[st.integers(0, 5)] * 3),
    units=st.integers(0, 2),
    block_px=st.sampled_from([1, 2]),
)
def test_its_outputs_are_those_of_before(more, units: int, block_px) -> None:
    spec = dataclasses.replace(SPEC, residual_units=units, block_px=block_px)
    network, image = network_with_statistics(spec), torch.rand(1, 3, 16, 24)
    features = tuple(before + new for before, new in zip(spec.features, more, strict=True))
    assume(len({3 * block_px**2, *features}) == 4)
    wider = widened_spec(spec, features)
    result = widened(network, spec, wider)
    assert wider.features == features
    assert {name: weights.shape for name, weights in result.state_dict().items()} == {
        name: weights.shape for name, weights in build_network(wider).state_dict().items()
    }
    assert not result.training
    with torch.inference_mode():
        torch.testing.assert_close(result(image), network(image), rtol=1e-5, atol=1e-5)


def test_what_reads_the_new_channels_learns_from_the_first_step() -> None:
    result = widened(network_with_statistics(SPEC), SPEC, widened_spec(SPEC, (8, 9, 10)))
    result(torch.rand(2, 3, 16, 16)).square().mean().backward()
    kernel = result.get_submodule("1.model.0.conv.unit1.conv").weight
    assert torch.count_nonzero(kernel[:4, 4:]) == 0
    assert (kernel.grad[:4, 4:].abs().amax(dim=(2, 3)) > 0).all()


@pytest.mark.parametrize(
    ("family", "features", "message"),
    [
        ("unet", (4, 5), r"its levels have \[4, 5, 6\] channels; \[4, 5\] has no room"),
        ("unet", (8, 4, 8), r"\[8, 4, 8\] has no room for them"),
        ("unet", (4, 8, 8), r"in \[4, 8, 8\] others are as wide as the level before"),
        ("unet", (12, 14, 16), r"in \[12, 14, 16\] others are as wide"),
        ("basic_unet", (8, 8, 8), "it is a basic_unet; expected a unet"),
    ],
)
def test_what_cannot_be_widened(family, features, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        widened_spec(dataclasses.replace(SPEC, family=family), features)
