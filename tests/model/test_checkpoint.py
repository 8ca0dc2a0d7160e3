"""Checkpoints are read as they were written, and damaged ones are refused."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from support.untrained import write_untrained

from nucleipel.core.atomic import read_sealed_json, write_sealed_json
from nucleipel.errors import CheckpointError
from nucleipel.model.checkpoint import (
    DEFAULT,
    DESCRIPTION,
    WEIGHTS,
    WindowGrid,
    build_description,
    read_checkpoint,
    write_checkpoint,
)
from nucleipel.model.network import NetworkSpec, build_network

SPEC = NetworkSpec("unet", features=(4, 8), residual_units=1, in_channels=3, classes=3, block_px=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _write(tmp_path / "run", seed=0)


def _write(folder: Path, *, seed: int) -> Path:
    return write_untrained(
        folder, SPEC, seed=seed, core_px=64, instances={"min_area_px": 7}, config={"epochs": 3}
    )


@pytest.mark.parametrize("name", ["", WEIGHTS, DESCRIPTION], ids=["folder", "weights", "json"])
def test_what_is_written_is_read(folder: Path, name: str) -> None:
    found = read_checkpoint(folder / name)
    torch.manual_seed(0)
    written = build_network(SPEC).state_dict()
    read = found.network.state_dict()
    assert list(read) == list(written)
    assert all(torch.equal(read[key], written[key]) for key in written)
    assert not found.network.training
    description = found.description
    assert (description.network, description.mpp, description.boundary_px) == (SPEC, 0.5, 2)
    assert description.config == {"epochs": 3}
    assert description.maps == ("background", "interior", "boundary", "distance")
    assert description.instances == {"min_area_px": 7}
    assert description.grid.halo_px >= description.receptive_radius_px
    assert description.grid.halo_px % SPEC.stride == 0


def test_kernels_of_float16_numbers_are_stored_as_such_and_read_as_before(
    folder: Path, tmp_path: Path
) -> None:
    model = read_checkpoint(folder)
    weights = {
        name: tensor.half().float() if tensor.ndim > 1 else tensor
        for name, tensor in model.network.state_dict().items()
    }
    rounded, again = tmp_path / "rounded", tmp_path / "again"
    rounded.mkdir()
    again.mkdir()
    sha256 = write_checkpoint(rounded, model.description, weights)
    stored = safetensors.torch.load_file(rounded / WEIGHTS)
    assert {tensor.dtype for tensor in stored.values() if tensor.ndim > 1} == {torch.float16}
    read = read_checkpoint(rounded).network.state_dict()
    for name, tensor in weights.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor), name
    assert write_checkpoint(again, model.description, read) == sha256


def test_the_same_weights_have_the_same_hash(tmp_path: Path) -> None:
    one, same, other = (
        read_checkpoint(_write(tmp_path / name, seed=seed)).sha256
        for name, seed in [("one", 0), ("same", 0), ("other", 1)]
    )
    assert one == same != other


@pytest.mark.parametrize(
    ("shape", "core_px"),
    [((16, 16), 16), ((17, 3), 32), ((100, 16), 112), ((200, 16), 64), ((9000, 9000), 64)],
)
def test_an_image_is_one_core_where_its_window_is_no_larger_than_others(
    shape: tuple[int, int], core_px: int
) -> None:
    grid = WindowGrid(core_px=64, halo_px=32, batch=1, edge_px=40).fitted(shape, stride=16)
    assert grid == WindowGrid(core_px=core_px, halo_px=32, batch=1, edge_px=32)


def test_without_an_edge_all_windows_are_full() -> None:
    grid = WindowGrid(core_px=64, halo_px=32, batch=1, edge_px=None)
    assert grid.fitted((16, 9), stride=16) == WindowGrid(16, 32, batch=1, edge_px=None)
    assert grid.fitted((16, 900), stride=16) == grid
    assert grid.frame_of((16, 900)) is None


def _truncated(folder: Path) -> None:
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[:-100])


def _one_bit_flipped(folder: Path) -> None:
    file = folder / WEIGHTS
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def _other_weights(folder: Path) -> None:
    weights = _write(folder.parent / "other", seed=1) / WEIGHTS
    (folder / WEIGHTS).write_bytes(weights.read_bytes())


def _no_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def _no_description(folder: Path) -> None:
    (folder / DESCRIPTION).unlink()


def _description_cut_off(folder: Path) -> None:
    file = folder / DESCRIPTION
    file.write_text(file.read_text()[:-40])


def _changed(folder: Path, **fields: Any) -> None:
    write_sealed_json(folder / DESCRIPTION, read_sealed_json(folder / DESCRIPTION) | fields)


def _description_altered(folder: Path) -> None:
    file = folder / DESCRIPTION
    file.write_text(file.read_text().replace('"mpp": 0.5', '"mpp": 0.4'))


def _from_the_future(folder: Path) -> None:
    _changed(folder, format=99)


def _of_another_network(folder: Path) -> None:
    network = json.loads((folder / DESCRIPTION).read_text())["network"]
    _changed(folder, network={**network, "features": [4, 8, 16]})


def _of_an_unknown_network(folder: Path) -> None:
    network = json.loads((folder / DESCRIPTION).read_text())["network"]
    _changed(folder, network={**network, "family": "transformer"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_description_altered, r"checkpoint\.json: .* does not match its content_sha256"),
        (_truncated, r"safetensors: does not match the sha256 .*truncated or altered"),
        (_one_bit_flipped, r"safetensors: does not match the sha256"),
        (_other_weights, r"safetensors: does not match the sha256"),
        (_no_weights, r"has no checkpoint\.safetensors; expected the folder of a finished run"),
        (_no_description, r"has no checkpoint\.json"),
        (_description_cut_off, r"checkpoint\.json: cannot be understood"),
        (_from_the_future, r"checkpoint\.json: format 99; this version reads up to 5; upgrade"),
        (_of_another_network, r"does not fit the network in checkpoint\.json"),
        (_of_an_unknown_network, r"network family 'transformer'; expected unet or basic_unet"),
    ],
)
def test_a_damaged_checkpoint_is_refused(folder: Path, damage: Any, message: str) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(folder)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    network = build_network(SPEC)
    weights = network.state_dict()
    next(iter(weights.values())).fill_(float("nan"))
    description = build_description(
        network, SPEC, mpp=None, core_px=64, boundary_px=2, maps=("a",), instances={}, config={}
    )
    write_checkpoint(tmp_path, description, weights)
    with pytest.raises(CheckpointError, match="not finite; train again"):
        read_checkpoint(tmp_path)


class _Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("the pickle was loaded",))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_never_loaded(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(pickle.dumps(_Trap(), protocol=protocol))
    with pytest.raises(CheckpointError, match="is a pickle, which is never loaded"):
        read_checkpoint(file)


def test_a_torch_file_is_distinguished_from_other_files(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="is a pickle, which is never loaded"):
        read_checkpoint(tmp_path / "model.pth")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(CheckpointError, match="is no checkpoint of nucleipel"):
        read_checkpoint(tmp_path / "notes.txt")


def test_a_pickle_under_the_weights_name_is_refused(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(pickle.dumps(_Trap(), protocol=4))
    with pytest.raises(CheckpointError, match="does not match the sha256"):
        read_checkpoint(folder)


def test_a_git_lfs_pointer_is_reported(folder: Path, tmp_path: Path) -> None:
    for path, argument in ((folder / WEIGHTS, folder), (tmp_path / "run.pt", tmp_path / "run.pt")):
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n")
        with pytest.raises(CheckpointError, match=r"is a Git LFS pointer, .*run git lfs pull"):
            read_checkpoint(argument)


def test_a_missing_checkpoint_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "nothing")


def test_checkpoints_from_before_the_choice_of_norm_have_batch_norm(folder: Path) -> None:
    assert "norm" not in json.loads((folder / DESCRIPTION).read_text())["network"]
    assert read_checkpoint(folder).description.network.norm == "batch"
    assert read_checkpoint(Path(DEFAULT)).description.canonical_map
    fields = {**SPEC.to_json(), "norm": "instance"}
    assert NetworkSpec.from_json(fields).to_json() == json.loads(json.dumps(fields)) | {
        "features": SPEC.features
    }
    with pytest.raises(CheckpointError, match="network norm 'layer'; expected batch or instance"):
        NetworkSpec.from_json({**fields, "norm": "layer"})
