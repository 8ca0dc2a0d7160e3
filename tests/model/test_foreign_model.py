"""Models of other programs: what goes in, what comes out, how far they see."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from support.onnx_models import write_model
from support.untrained import small_network, write_untrained

import nucleipel as npl
from nucleipel.errors import CheckpointError, ConfigError, PredictionError
from nucleipel.model.checkpoint import read_checkpoint
from nucleipel.model.foreign_model import ModelUse, read_model
from nucleipel.model.network import to_probabilities
from nucleipel.model.onnx_export import build_onnx

pytestmark = pytest.mark.slow

RADIUS = 4
"""How far `write_model` sees. A row 2j is made of the coarse rows j - 1 to j + 1, so of the rows
2j - 2 to 2j + 3, and each of these of its neighbors: 2j - 3 to 2j + 4."""


TWO = ModelUse(channels={"foreground": 0, "boundary": 1}, stride_px=2, core_px=32)


@pytest.mark.parametrize("channels_last", [False, True])
def test_what_a_model_gives_becomes_background_interior_boundary(
    tmp_path: Path, channels_last: bool
) -> None:
    model = read_model(write_model(tmp_path / "m.onnx", channels_last=channels_last), TWO)
    image = np.random.default_rng(1).random((2, 1, 20, 26), np.float32)[:1]
    foreground, boundary = model.network.run(image)[0]
    with torch.inference_mode():
        maps = to_probabilities(model.network(torch.from_numpy(image))).numpy()[0]
    interior = np.maximum(foreground - boundary, 0)
    rest = np.maximum(1 - interior - boundary, 0)
    total = interior + boundary + rest
    np.testing.assert_allclose(maps[0], rest / total, atol=1e-6)
    np.testing.assert_allclose(maps[1], interior / total, atol=1e-6)
    np.testing.assert_allclose(maps[2], boundary / total, atol=1e-6)
    assert model.description.maps == ("background", "interior", "boundary")
    assert maps[:3].std() > 0.05


def test_the_radius_is_measured(tmp_path: Path) -> None:
    model = read_model(write_model(tmp_path / "m.onnx"), TWO)
    assert model.description.receptive_radius_px == RADIUS
    assert model.description.grid.halo_px == RADIUS
    with pytest.raises(CheckpointError, match="more than 2 px away change the model's output"):
        read_model(
            tmp_path / "m.onnx",
            ModelUse(channels={"foreground": 0}, stride_px=2, receptive_radius_px=2),
        )


@pytest.mark.parametrize(
    ("whole_window", "message"),
    [("norm", "the model sees .* px or farther"), ("gate", "change the model's output")],
)
def test_a_model_that_sees_the_whole_window_is_refused_or_named(
    tmp_path: Path, whole_window: str, message: str
) -> None:
    path = write_model(tmp_path / "m.onnx", whole_window=whole_window)
    with pytest.raises(CheckpointError, match=message) as error:
        read_model(path, TWO)
    assert "accept_seams" in str(error.value)
    model = npl.load(path, channels=dict(TWO.channels or {}), stride=2, accept_seams=True)
    assert model.receptive_radius_px is None
    image = np.random.default_rng(0).integers(0, 255, (70, 90), np.uint8)
    assert model.segment(image).certificate["canonical_map"] is False


def test_windows_of_one_size(tmp_path: Path) -> None:
    free = npl.load(write_model(tmp_path / "free.onnx"), channels={"foreground": 1}, stride=2)
    fixed = npl.load(
        write_model(tmp_path / "fixed.onnx", side=64), channels={"foreground": 1}, stride=2
    )
    grid = fixed.checkpoint.description.grid
    assert grid.core_px + 2 * grid.halo_px <= 64
    image = np.random.default_rng(0).integers(0, 255, (90, 50), np.uint8)
    np.testing.assert_array_equal(fixed.predict(image), free.predict(image))


def test_activation_mean_and_std(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "plain.onnx", last=None)
    done = npl.load(write_model(tmp_path / "done.onnx"), channels={"foreground": 0}, stride=2)
    image = np.random.default_rng(0).integers(0, 255, (40, 50), np.uint8)
    with pytest.raises(PredictionError, match=r"expected probabilities in .* set activation="):
        npl.load(plain, channels={"foreground": 0}, stride=2).predict(image)
    named = npl.load(plain, channels={"foreground": 0}, stride=2, activation="sigmoid")
    assert np.abs(named.predict(image).astype(int) - done.predict(image)).max() <= 1
    shifted = npl.load(
        plain, channels={"foreground": 0}, stride=2, activation="sigmoid", mean=[0.5], std=[0.25]
    )
    values = np.linspace(0, 1, 400, dtype=np.float32).reshape(1, 1, 20, 20)
    direct = done.checkpoint.network.run((values - 0.5) / 0.25)
    np.testing.assert_allclose(
        1 / (1 + np.exp(-shifted.checkpoint.network.run(values))), direct, atol=1e-5
    )


def test_what_is_no_model_of_nuclei(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    for given, use, message in [
        (path, ModelUse(), "2 channels; name them"),
        (path, ModelUse(channels={"foreground": 5}), "foreground=5; expected the index"),
        (path, ModelUse(channels={"foreground": 0}, output="y"), "no output 'y'; it has maps"),
        (path, ModelUse(channels={"foreground": 0}, std=(0.0,)), "none of them 0"),
        (path, ModelUse(channels={"foreground": 0}, core_px=33), "multiple of stride_px, 32"),
        (tmp_path / "text.onnx", ModelUse(), "is no ONNX model"),
        (tmp_path / "none.onnx", ModelUse(), "no such model"),
    ]:
        with pytest.raises(CheckpointError, match=message) as error:
            read_model(given, use)
        assert str(error.value).startswith(f"{given}: ")
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=r"load\(\): unknown key 'activate'"):
        npl.load(path, activate="none")
    with pytest.raises(CheckpointError, match="can predict and not be trained"):
        read_checkpoint(path)


RDF = {
    "format_version": "0.5.4",
    "inputs": [
        {
            "axes": [
                {"type": "batch"},
                {"type": "channel", "channel_names": ["gray"]},
                *({"type": "space", "id": axis, "size": {"min": 16, "step": 2}, "scale": 0.5,
                   "unit": "micrometer"} for axis in "yx"),
            ],
            "data": {"type": "uint8"},
            "preprocessing": [{"id": "scale_linear", "kwargs": {"gain": 1 / 255, "offset": 0}}],
        }
    ],
    "outputs": [
        {
            "axes": [
                {"type": "batch"},
                {"type": "channel", "channel_names": ["Foreground", "boundaries"]},
            ],
            "postprocessing": [{"id": "sigmoid"}],
        }
    ],
    "weights": {"onnx": {"source": "weights.onnx"}},
}  # fmt: skip


def write_package(folder: Path, rdf: dict[str, object], **model: object) -> Path:
    weights = write_model(folder / "weights.onnx", last=None, **model).read_bytes()  # type: ignore[arg-type]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as files:
        files.writestr("rdf.yaml", yaml.safe_dump(rdf))
        files.writestr("weights.onnx", weights)
    (folder / "m.zip").write_bytes(content.getvalue())
    return folder / "m.zip"


def test_a_package_says_how_it_is_used(tmp_path: Path) -> None:
    model = read_model(write_package(tmp_path, RDF))
    description = model.description
    assert description.mpp == 0.5
    assert description.network.stride == 2
    assert description.normalization["intensity_range"] == (0, 255)
    assert description.config["channels"] == {"foreground": 0, "boundary": 1}
    assert description.config["activation"] == "sigmoid"
    image = np.full((40, 50), 51, np.uint8)
    loaded = npl.load(tmp_path / "m.zip")
    taken = loaded.segment(image, mpp=0.5).certificate["intensity"]
    assert (taken["low"], taken["high"]) == ([0.0], [255.0])


def _changed(**parts: object) -> dict[str, object]:
    rdf = json.loads(json.dumps(RDF))
    for place, value in parts.items():
        name, _, key = place.partition("_")
        if key:
            rdf[name][0][key] = value
        else:
            rdf[name] = value
    return rdf


@pytest.mark.parametrize(
    ("rdf", "message"),
    [
        (_changed(weights={"torchscript": {"source": "w.pt"}}), "as torchscript; expected onnx"),
        (_changed(weights={"onnx": {"source": "w.onnx"}}), "no file w.onnx"),
        (_changed(inputs_preprocessing=[{"id": "zero_mean_unit_variance", "kwargs": {}}]),
         "is measured on each image, or not known; set mean and std"),
        (_changed(outputs_postprocessing=[{"id": "zoom"}]), "step 'zoom' after the model"),
        (_changed(inputs=3), "cannot be understood"),
        ({"type": "model"}, "has weights as nothing"),
    ],
)  # fmt: skip
def test_a_package_that_is_not_understood(
    tmp_path: Path, rdf: dict[str, object], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_model(write_package(tmp_path, rdf))


def test_a_package_of_format_0_4_with_mean_and_std(tmp_path: Path) -> None:
    rdf = {
        "format_version": "0.4.9",
        "inputs": [
            {
                "axes": "bcyx",
                "shape": {"min": [1, 1, 16, 16], "step": [0, 0, 2, 2]},
                "data_type": "float32",
                "preprocessing": [{"name": "zero_mean_unit_variance", "kwargs": {"axes": "xy"}}],
            }
        ],
        "outputs": [{"axes": "bcyx", "postprocessing": [{"name": "sigmoid"}]}],
        "weights": {"onnx": {"source": "./weights.onnx"}},
    }
    use = ModelUse(channels={"foreground": 0, "boundary": 1}, mean=(0.4,), std=(0.2,))
    description = read_model(write_package(tmp_path, rdf), use).description
    assert description.config["mean"] == [pytest.approx(0.4)]
    assert description.network.stride == 2


def _sharper(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights whose outputs are far from each other, so that noise has nuclei."""
    last = [name for name in state if name.endswith("conv.weight")][-1]
    bias = last.removesuffix("weight") + "bias"
    return {**state, last: 60 * state[last], bias: torch.zeros_like(state[bias])}


def test_our_own_export_is_the_checkpoint(tmp_path: Path) -> None:
    network = small_network(block_px=1)
    run = write_untrained(
        tmp_path / "run", network, instances={"min_area_px": 1},
        stained_instances={"min_area_px": 9}, changed=_sharper, core_px=32,
    )  # fmt: skip
    own = npl.load(run)
    path = tmp_path / "own.onnx"
    path.write_bytes(build_onnx(own.checkpoint))
    theirs = npl.load(path)
    for name in (
        "mpp", "grid", "receptive_radius_px", "maps", "instances", "stained_instances",
        "normalization",
    ):  # fmt: skip
        assert getattr(theirs.checkpoint.description, name) == getattr(
            own.checkpoint.description, name
        )
    image = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    ours, their = (m.segment(image, mpp=0.5) for m in (own, theirs))
    assert ours.labels.max() > 20
    np.testing.assert_array_equal(their.labels, ours.labels)
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as files:
        files.writestr("rdf.yaml", yaml.safe_dump(RDF))
        files.write(path, "weights.onnx")
    packaged = npl.load(tmp_path / "own.zip")
    assert packaged.checkpoint.description == theirs.checkpoint.description
