"""Windows read ahead give the map of windows read one by one, and only a few of them wait."""

import threading
from contextlib import closing

import numpy as np
import pytest
import torch
from torch import nn

from nucleipel.core.geometry import Box, core_tiles, reflected_indices
from nucleipel.core.intensity import IntensityRange
from nucleipel.core.stopwatch import Stopwatch
from nucleipel.errors import PredictionError
from nucleipel.inference.probability_map import (
    BATCHES_AHEAD,
    choose_device,
    place_network,
    predict_parts,
)
from nucleipel.instances.quantize import quantize
from nucleipel.model.checkpoint import WindowGrid
from nucleipel.model.network import NetworkSpec, build_network, to_probabilities

SHAPE = (100, 150)
GRID = WindowGrid(core_px=16, halo_px=8, batch=3)
PARTS = [
    Box(y, x, y + 64, x + 64).clip(SHAPE) for y in range(0, 100, 64) for x in range(0, 150, 64)
]
INTENSITY = IntensityRange((3.0,) * 3, (250.0,) * 3)


class Picture:
    path = "picture"

    def __init__(self) -> None:
        self.pixels = np.random.default_rng(3).integers(0, 256, (*SHAPE, 3), np.uint8)
        self.shape = SHAPE
        self.reads = 0

    def read(self, box: Box) -> np.ndarray:
        self.reads += 1
        rows = reflected_indices(box.y0, box.y1, SHAPE[0])
        return self.pixels[rows][:, reflected_indices(box.x0, box.x1, SHAPE[1])]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(1)
    spec = NetworkSpec("unet", (16, 24), residual_units=1, in_channels=3, classes=3, block_px=1)
    return build_network(spec).eval()


def _predicted(network: nn.Module, picture: Picture, parts: list[Box], **more: object):
    return predict_parts(
        network,
        picture,
        parts,
        intensity=INTENSITY,
        grid=GRID,
        channels=3,
        maps=4,
        device=torch.device("cpu"),
        **more,
    )


@torch.inference_mode()
def _one_by_one(network: nn.Module, picture: Picture, part: Box) -> np.ndarray:
    """The same without threads, as simply as it can be said."""
    values = np.zeros((4, *part.shape), np.uint8)
    tiles = list(core_tiles(SHAPE, core_px=16, halo_px=8, within=part))
    for start in range(0, len(tiles), 3):
        batch = tiles[start : start + 3]
        seen = torch.zeros(3, 3, 32, 32)
        for index, tile in enumerate(batch):
            pixels = INTENSITY.normalize(picture.read(tile.window))
            seen[index] = torch.from_numpy(pixels).permute(2, 0, 1)
        outputs = to_probabilities(network(seen)).numpy()
        for tile, found in zip(batch, outputs, strict=False):
            core = tile.core.shift(-part.y0, -part.x0)
            height, width = core.shape
            values[(slice(None), *core.slices)] = quantize(found[:, 8 : 8 + height, 8 : 8 + width])
    return values


@pytest.mark.parametrize("backwards", [False, True])
def test_the_bytes_are_those_of_windows_read_one_by_one(
    network: nn.Module, backwards: bool
) -> None:
    picture = Picture()
    parts = PARTS[::-1] if backwards else PARTS
    made = list(_predicted(network, picture, parts))
    assert [part for part, _ in made] == parts
    for part, values in made:
        assert np.array_equal(values, _one_by_one(network, picture, part)), part
    assert len(np.unique(made[0][1])) > 20


def test_a_part_without_windows_is_background(network: nn.Module) -> None:
    picture = Picture()
    tiles = list(core_tiles(SHAPE, core_px=16, halo_px=8))
    glass = {tile.core for tile in tiles if tile.core.x0 >= 64}
    made = dict(zip(PARTS, _predicted(network, picture, PARTS, skipped=glass), strict=True))
    assert picture.reads == len(tiles) - len(glass)
    for part, (same, values) in made.items():
        assert same == part
        if part.x0 >= 64:
            assert (values[0] == 255).all()
            assert not values[1:].any()
        else:
            assert np.array_equal(values, _one_by_one(network, picture, part))


def test_bfloat16_moves_few_gray_levels_and_float32_is_the_default_on_cpus(network) -> None:
    maps = {
        precision: np.concatenate(
            [values.ravel() for _, values in _predicted(network, Picture(), PARTS, **chosen)]
        ).astype(int)
        for precision, chosen in {
            "default": {},
            "float32": {"precision": "float32"},
            "bfloat16": {"precision": "bfloat16"},
        }.items()
    }
    assert np.array_equal(maps["default"], maps["float32"])
    moved = np.abs(maps["bfloat16"] - maps["float32"])
    assert 0 < moved.max() <= 24
    assert moved.mean() < 2


def test_what_is_read_ahead_is_bounded_and_nothing_goes_on_afterwards(network: nn.Module) -> None:
    picture, seen, others = Picture(), [], set(threading.enumerate())

    def watch(*_: object) -> None:
        seen.append(picture.reads)

    handle = network.register_forward_pre_hook(watch)
    with closing(_predicted(network, picture, PARTS)) as made:
        next(made)
        next(made)
    handle.remove()
    for index, reads in enumerate(seen):
        assert reads <= 3 * (index + 1 + BATCHES_AHEAD + 1)
    assert picture.reads < len(list(core_tiles(SHAPE, core_px=16, halo_px=8)))
    assert set(threading.enumerate()) <= others


def test_an_error_of_the_reader_is_raised_in_its_part(network: nn.Module) -> None:
    picture = Picture()
    read = picture.read

    def torn(box: Box) -> np.ndarray:
        if box.y0 >= 64 - 8:
            raise OSError("torn file")
        return read(box)

    picture.read = torn
    finished = []
    with pytest.raises(OSError, match="torn file"):
        for part, _ in _predicted(network, picture, PARTS):
            finished.append(part)
    assert finished == [part for part in PARTS if part.y0 == 0]


def test_a_probability_that_is_none_is_reported(network: nn.Module) -> None:
    class Nothing(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full((len(images), 4, *images.shape[2:]), float("nan"))

    with pytest.raises(PredictionError, match="picture: probabilities are not finite"):
        list(_predicted(Nothing(), Picture(), PARTS))


def test_phases_are_counted(network: nn.Module) -> None:
    clock = Stopwatch()
    list(_predicted(network, Picture(), PARTS, clock=clock))
    elapsed = clock.elapsed
    assert list(clock.seconds) == ["read", "predict"]
    assert all(0 < seconds <= elapsed for seconds in clock.seconds.values())


@pytest.mark.parametrize(
    ("features", "block_px", "last"),
    [((16, 24), 2, True), ((16, 24), 1, False), ((8, 24), 2, False)],
)
def test_on_cpus_wide_networks_alone_compute_in_channels_last(features, block_px, last) -> None:
    spec = NetworkSpec("unet", features, 1, in_channels=3, classes=3, block_px=block_px)
    network = build_network(spec).eval()
    windows = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        before = network(windows)
        place_network(network, torch.device("cpu"))
        after = network(windows)
    kernels = [
        weight
        for weight in network.parameters()
        if weight.dim() == 4 and weight[0, 0].numel() > 1 and weight.shape[1] > 1
    ]
    assert all(
        weight.is_contiguous(memory_format=torch.channels_last) == last for weight in kernels
    )
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_apples_gpu_is_used_where_there_is_one() -> None:
    if torch.backends.mps.is_available():
        assert choose_device("mps").type == "mps"
    else:
        with pytest.raises(PredictionError, match="device mps: this torch has no Apple GPU"):
            choose_device("mps")
