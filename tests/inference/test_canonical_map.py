"""The map is a function of image and checkpoint: cores of another size, or none, change nothing.

Networks of every family with random weights and random BatchNorm statistics on a
generated image, and the weights that come with the package on real images. In
float64 what differs is rounding only; in float32 at most a level in one of a
thousand pixels.
"""

import csv
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import ROOT
from torch import nn

from nucleipel.config import NetworkConfig, TrainConfig
from nucleipel.core.geometry import Box
from nucleipel.core.intensity import IntensityRange
from nucleipel.data.synthetic import build_scene
from nucleipel.inference.probability_map import predict_part
from nucleipel.instances import InstanceRule, segment_instances
from nucleipel.instances.quantize import quantize
from nucleipel.io.slides.slide import open_slide
from nucleipel.metrics.scores import ImageScore
from nucleipel.model.checkpoint import DEFAULT, Checkpoint, WindowGrid, read_checkpoint
from nucleipel.model.network import build_network
from nucleipel.model.receptive_field import receptive_radius
from nucleipel.stages.pipeline.train import network_spec

pytestmark = pytest.mark.slow

_script = runpy.run_path(str(ROOT / "scripts" / "checks" / "check_canonical.py"))
float64_map, float64_differences = _script["float64_map"], _script["float64_differences"]
float32_differences = _script["float32_differences"]
SHAPE = (150, 210)
FAMILIES = {
    "unet": NetworkConfig(features=(16, 16, 16, 16, 16), residual_units=1),
    "unet of single pixels": NetworkConfig(
        features=(16, 16, 16, 16, 16), residual_units=1, block_px=1
    ),
    "basic_unet": NetworkConfig(family="basic_unet", features=(16,) * 6, block_px=1),
}


@pytest.fixture(scope="module", params=FAMILIES)
def network(request) -> tuple[nn.Module, int, int]:
    """A network, its stride, and a halo that covers what it sees."""
    config = TrainConfig(channels=3, network=FAMILIES[request.param])
    spec = network_spec(config)
    torch.manual_seed(0)
    network = build_network(spec).eval()
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.2)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    last.weight.data *= 8  # so that some pixels are nucleus and others are not
    stride = config.network.stride
    radius = receptive_radius(network, in_channels=3, stride=stride)
    return network, stride, -(-radius // stride) * stride


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return build_scene(SHAPE, seed=2, glass=False).image


def test_in_float64_only_rounding_differs(
    network: tuple[nn.Module, int, int], image: np.ndarray
) -> None:
    model, stride, halo_px = network
    model.double()
    image = image / 255
    whole = float64_map(model, image, 14 * stride, halo_px)
    assert whole.std() > 0.01, "not constant"
    tiled = float64_map(model, image, 5 * stride, halo_px)
    assert np.abs(tiled - whole).max() < 1e-9
    assert np.array_equal(quantize(tiled), quantize(whole))
    short = float64_map(model, image, 5 * stride, 0)
    assert np.abs(short - whole).max() > 1e-3, "without a halo it would show"


def test_in_float32_hardly_a_level_differs(
    network: tuple[nn.Module, int, int], image: np.ndarray, tmp_path: Path
) -> None:
    model, stride, halo_px = network
    model.float()
    Image.fromarray(image).save(tmp_path / "generated.png")
    slide = open_slide(tmp_path / "generated.png")
    maps = [
        predict_part(
            model,
            slide,
            Box.of_shape(SHAPE),
            intensity=IntensityRange((0.0,) * 3, (255.0,) * 3),
            grid=WindowGrid(core_px=cores * stride, halo_px=halo_px, batch=batch),
            channels=3,
            maps=4,
            device=torch.device("cpu"),
        )
        for cores, batch in ((14, 1), (5, 3))
    ]
    background = np.median(maps[0][0].astype(int) - maps[0][1] - maps[0][2])
    percent = int(np.clip(np.rint(50 - 50 * background / 255), 1, 99))  # half of it is nucleus
    rule = InstanceRule(foreground_percent=percent, persistence=0.01, min_area_px=5)
    whole = segment_instances(maps[0], rule=rule)
    difference = np.abs(maps[1].astype(int) - maps[0])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3
    found = segment_instances(maps[1], rule=rule)
    assert ImageScore.of(whole.map, found.map).to_scores()["pq"] >= 0.999
    assert len(whole.table) > 5


# --- the weights that come with the package, on real images --------------------------


@pytest.fixture(scope="module")
def packaged() -> Checkpoint:
    return read_checkpoint(Path(DEFAULT))


@pytest.fixture(scope="module", params=["slide", 0, 1])
def real_image(request, real_data: Path, tmp_path_factory) -> Path:
    """A piece of the slide, or one of the DSB2018 test images of 512 px and more."""
    if request.param != "slide":
        return large_dsb2018_images(real_data)[request.param]
    with open_slide(real_data / "slides" / "CMU-1-Small-Region.svs") as slide:
        pixels = slide.read(Box(600, 900, 1300, 1800))
    path = tmp_path_factory.mktemp("slide") / "piece.png"
    Image.fromarray(pixels).save(path)
    return path


def large_dsb2018_images(root: Path) -> list[Path]:
    """The test images of 512 px and more, those of the fewest pixels first."""
    with (root / "dsb2018" / "manifest.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["split"] == "test"]
    sizes = {
        root / "dsb2018" / row["image"]: (int(row["height"]), int(row["width"])) for row in rows
    }
    large = [path for path, size in sizes.items() if max(size) >= 512]
    return sorted(large, key=lambda path: (np.prod(sizes[path]), path))


def test_on_real_images_only_rounding_differs_in_float64(
    packaged: Checkpoint, real_image: Path
) -> None:
    piece = Box(64, 128, 448, 512)  # of it, as float64 is slow
    ((worst, changed),) = float64_differences(packaged, real_image, [192], within=piece)
    assert worst < 1e-9
    assert changed == 0


def test_on_real_images_hardly_a_level_differs_in_float32(
    packaged: Checkpoint, real_image: Path
) -> None:
    ((levels, share, pq, nuclei),) = float32_differences(packaged, real_image, [352])
    assert levels <= 1
    assert share <= 1e-3
    assert nuclei > 10
    assert pq >= 0.999
