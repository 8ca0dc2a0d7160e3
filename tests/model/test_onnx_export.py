"""An exported network gives the output of torch, at any size, and describes its use."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support import ROOT
from torch import nn

from nucleipel.errors import CheckpointError
from nucleipel.model import onnx_export
from nucleipel.model.checkpoint import Checkpoint, build_description, read_checkpoint
from nucleipel.model.network import NetworkSpec, build_network
from nucleipel.model.onnx_export import INPUT, OUTPUT, build_onnx, predict_once, require_exporters

pytestmark = pytest.mark.slow

SPECS = {
    "unet": NetworkSpec("unet", (16, 24, 32), 1, 3, 3, 2),
    "unet of single pixels, gray": NetworkSpec("unet", (16, 24), 1, 1, 3, 1),
    "basic_unet": NetworkSpec("basic_unet", (16, 16, 24, 24, 32, 16), 0, 3, 3, 2),
}


def _checkpoint(spec: NetworkSpec) -> Checkpoint:
    torch.manual_seed(0)
    network = build_network(spec)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):  # as after training, not as it starts
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    description = build_description(
        network.eval(),
        spec,
        mpp=0.5,
        core_px=4 * spec.stride,
        boundary_px=2,
        maps=("background", "interior", "boundary", "distance"),
        instances={"min_area_px": 12},
        config={},
    )
    return Checkpoint(description, network, "0" * 64)


@pytest.fixture(scope="module", params=SPECS)
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return _checkpoint(SPECS[request.param])


@pytest.fixture(scope="module")
def payload(checkpoint: Checkpoint) -> bytes:
    return build_onnx(checkpoint)


def _run(payload: bytes, image: np.ndarray) -> np.ndarray:
    import onnxruntime  # late, as onnx below: every process reads this file

    session = onnxruntime.InferenceSession(payload, providers=["CPUExecutionProvider"])
    return session.run([OUTPUT], {INPUT: image})[0]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 6), (3, 2, 5), (1, 17, 1)])
def test_it_gives_what_torch_gives(
    checkpoint: Checkpoint, payload: bytes, shape: tuple[int, int, int]
) -> None:
    spec = checkpoint.description.network
    batch, rows, columns = shape
    image = np.random.default_rng(0).random(
        (batch, spec.in_channels, rows * spec.stride, columns * spec.stride), np.float32
    )
    found = _run(payload, image)
    assert found.dtype == np.float32
    assert found.shape == (batch, 4, *image.shape[2:])
    np.testing.assert_allclose(found, predict_once(checkpoint, image), rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[:, :3].sum(axis=1), 1, atol=1e-5)
    assert found.std() > 1e-3


def test_the_metadata_describes_the_use(checkpoint: Checkpoint, payload: bytes) -> None:
    import onnx

    model = onnx.load_from_string(payload)
    onnx.checker.check_model(model, full_check=True)
    spec = checkpoint.description.network
    for value, channels in ((model.graph.input[0], spec.in_channels), (model.graph.output[0], 4)):
        dims = value.type.tensor_type.shape.dim
        assert [dim.dim_param or dim.dim_value for dim in dims] == [
            "batch", channels, "height", "width",
        ]  # fmt: skip
    message = {prop.key.removeprefix("nucleipel."): prop.value for prop in model.metadata_props}
    assert json.loads(message["maps"]) == ["background", "interior", "boundary", "distance"]
    assert json.loads(message["mpp_um"]) == 0.5
    assert json.loads(message["stride_px"]) == spec.stride
    assert json.loads(message["windows"])["halo_px"] == checkpoint.description.grid.halo_px
    assert json.loads(message["instances"]) == {"min_area_px": 12}
    preprocessing = json.loads(message["preprocessing"])
    assert (preprocessing["low_percentile"], preprocessing["high_percentile"]) == (1.0, 99.8)
    assert ("Gray" in preprocessing["description"]) == (spec.in_channels == 3)
    assert message["checkpoint_sha256"] == "0" * 64


def test_nothing_of_the_machine_is_in_the_file(payload: bytes) -> None:
    assert str(Path(torch.__file__).parents[1]).encode() not in payload
    assert str(ROOT).encode() not in payload


@pytest.mark.parametrize("checkpoint", ["unet of single pixels, gray"], indirect=True)
def test_the_same_checkpoint_gives_the_same_bytes(checkpoint: Checkpoint, payload: bytes) -> None:
    assert build_onnx(checkpoint) == payload


def test_a_network_that_comes_out_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "TOLERANCE", -1.0)
    with pytest.raises(CheckpointError, match=r"differs from torch's by .* expected at most"):
        build_onnx(_checkpoint(SPECS["unet of single pixels, gray"]))


def test_a_missing_package_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"no_such_package; .*nucleipel\[export\]"):
        require_exporters("onnx", "no_such_package")


@pytest.mark.slow
def test_the_packaged_weights_come_out_as_torch_has_them() -> None:
    checkpoint = read_checkpoint(Path("default"))
    image = np.random.default_rng(1).random((1, 3, 64, 96), np.float32)
    found = _run(build_onnx(checkpoint), image)
    np.testing.assert_allclose(found, predict_once(checkpoint, image), rtol=0, atol=1e-4)


def test_a_network_for_whole_images_is_refused() -> None:
    checkpoint = _checkpoint(SPECS["unet"])
    grid = dataclasses.replace(checkpoint.description.grid, whole_image_px=256)
    whole = dataclasses.replace(checkpoint.description, grid=grid)
    with pytest.raises(CheckpointError, match="takes whole images, resized to 256 px"):
        build_onnx(dataclasses.replace(checkpoint, description=whole))
