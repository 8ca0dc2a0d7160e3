"""Whole images in a square: nothing is cut off, and maps return to the shape of the image."""

import numpy as np
import pytest
import torch
from torch import nn

from nucleipel.core.geometry import Box
from nucleipel.core.intensity import IntensityRange
from nucleipel.core.resize import resize
from nucleipel.data.augment import Augment
from nucleipel.data.whole_images import WholeTrainingImages, WholeValidationImages
from nucleipel.data.windows import annotated_images
from nucleipel.errors import ImageError
from nucleipel.inference.probability_map import predict_part, predict_probabilities
from nucleipel.io.manifest import read_manifest
from nucleipel.io.slides.slide import open_slide
from nucleipel.io.slides.slide_reader import SlideReader
from nucleipel.io.slides.write_slide import write_annotation, write_slide
from nucleipel.model.checkpoint import WindowGrid

STILL = Augment(rotate_degrees=0, intensity=0, stain=0)


@pytest.fixture
def quarters(tmp_path):
    """Three wide images of four gray quarters; each quarter is a nucleus."""
    lines = ["image,label,split,source_id,mpp"]
    ids = np.repeat(np.repeat(np.array([[1, 2], [3, 4]], np.uint32), 20, axis=0), 60, axis=1)
    for name in "abc":
        write_slide(
            tmp_path / f"{name}.ome.tif", np.stack([60 * ids.astype(np.uint8)] * 3, -1), mpp=None
        )
        write_annotation(tmp_path / f"{name}_label.tif", ids)
        lines.append(f"{name}.ome.tif,{name}_label.tif,train,{name},")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return annotated_images(read_manifest(tmp_path / "manifest.csv"), SlideReader(channels=3))


def test_every_sample_shows_a_whole_image(quarters) -> None:
    settings = {"side_px": 32, "channels": 3, "boundary_px": 1}
    training = WholeTrainingImages(quarters, count=9, augment=STILL, seed=4, **settings)
    assert len(training) == 9
    for number in range(9):
        image, onehot, _, instance_map = training[number]
        assert image.shape == (3, 32, 32)
        assert onehot.shape == (3, 32, 32)
        assert sorted(np.unique(instance_map, return_counts=True)[1]) == [256] * 4
    assert torch.equal(training[5].image, training[5].image)
    validation = WholeValidationImages(quarters, limit=2, **settings)
    assert [image.image.name for image in validation.images] == ["a.ome.tif", "c.ome.tif"]
    corners = validation[0].instance_map[::31, ::31]
    assert len(set(corners.ravel().tolist())) == 4


def test_every_image_once_a_turn(quarters, monkeypatch) -> None:
    training = WholeTrainingImages(
        quarters, count=6, side_px=32, augment=STILL, channels=3, boundary_px=1, seed=4
    )
    seen = []
    real = type(quarters[0]).read
    monkeypatch.setattr(
        type(quarters[0]), "read", lambda self, box: seen.append(self.image.name) or real(self, box)
    )
    for number in range(6):
        training[number]
    assert sorted(seen[:3]) == sorted(seen[3:]) == ["a.ome.tif", "b.ome.tif", "c.ome.tif"]


class Blurred(nn.Module):
    """Outputs that depend on neighbors, so that it shows at which size an image was seen."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        blurred = nn.functional.avg_pool2d(image, 5, stride=1, padding=2)
        return torch.cat([4 * blurred - 2, 2 * image[:, :1]], dim=1)


def test_a_map_of_the_whole_image_has_its_shape(tiny_set) -> None:
    grid = WindowGrid(core_px=32, halo_px=32, batch=1, whole_image_px=64)
    keywords = {"grid": grid, "channels": 3, "maps": 4, "device": torch.device("cpu")}
    network = Blurred().eval()
    with open_slide(tiny_set.image("test")) as slide:
        assert slide.shape == (100, 170)
        whole = Box.of_shape(slide.shape)
        intensity: IntensityRange = slide.intensity_range()
        keywords["intensity"] = intensity
        found = predict_probabilities(network, slide, **keywords)
        stored = predict_part(network, slide, whole, **keywords)
        part = predict_part(network, slide, Box(32, 64, 96, 128), **keywords)
        square = resize(intensity.normalize(slide.read(whole)), (64, 64))
    outputs = network(torch.from_numpy(square.transpose(2, 0, 1)[None].copy()))
    expected = torch.cat([outputs[:, :3].softmax(dim=1), outputs[:, 3:].sigmoid()], dim=1)
    expected = resize(expected[0].numpy().transpose(1, 2, 0), (100, 170)).transpose(2, 0, 1)
    assert found.shape == (4, 100, 170)
    assert np.allclose(found, expected, atol=1e-6)
    assert np.allclose(found[:3].sum(axis=0), 1, atol=1e-5)
    assert np.array_equal(stored, np.rint(255 * found).astype(np.uint8))
    assert np.array_equal(part, stored[:, 32:96, 64:128])


def test_images_that_would_shrink_too_far_are_refused(tiny_set) -> None:
    reader = SlideReader(channels=3, whole_image_px=16)
    with pytest.raises(ImageError, match=r"160 x 224 px, too large to be resized whole to 16 px"):
        reader.open(tiny_set.image("train"), mpp=None)
    reader.open(tiny_set.image("val"), mpp=None).close()
