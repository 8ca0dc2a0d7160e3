"""One clear exception for each wrong argument."""

import numpy as np
import pytest

import nucleipel as npl
from nucleipel.errors import ArgumentError, CheckpointError, ConfigError

GRAY = np.zeros((40, 50), np.uint8)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (GRAY.astype(float), "float64; expected uint8 or uint16"),
        (np.full((40, 50), np.nan), "NaN or infinite"),
        (GRAY - 1.0, r"negative values \(-1\)"),
        (GRAY.astype(int) - 2, r"int64 with negative values \(-2\)"),
        (GRAY.astype(int), "int64; expected uint8 or uint16"),
        (GRAY > 3, "bool; expected"),
        (GRAY[0], r"shape \(50,\); expected \(H, W\)"),
        (GRAY[:0], r"shape \(0, 50\)"),
        (np.zeros((3, 40, 50), np.uint8), "channels first"),
        (np.zeros((40, 50, 4), np.uint8), "4 channels; expected 1 or 3"),
        ([[1, 2], [3]], "no array"),
        ("image.png", "expected"),
    ],
)
def test_images(random_checkpoint, image, message):
    with pytest.raises(ArgumentError, match=message) as error:
        npl.segment(image, mpp=0.5, model=random_checkpoint)
    assert str(error.value).startswith("image: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mpp", [0, -0.5, float("nan"), float("inf"), "0.5", True])
def test_pixel_sizes(random_checkpoint, mpp):
    with pytest.raises(ArgumentError, match=r"mpp: .* expected micrometers per pixel, above 0"):
        npl.segment(GRAY, mpp=mpp, model=random_checkpoint)


def test_mpp_is_never_guessed(random_checkpoint):
    with pytest.raises(ArgumentError, match=r"mpp: not given; the model works at 0\.5 um"):
        npl.segment(GRAY, model=random_checkpoint)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stained": "dye"}, r"segment\(\): unknown key 'stained'; did you mean 'stained_as'"),
        ({"stained_as": "blue"}, r"segment\(\): stained_as is \"blue\""),
        ({"instances": {"min_area_px": -1}}, "instances.min_area_px is -1"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_settings(random_checkpoint, settings, message):
    with pytest.raises(ConfigError, match=message):
        npl.segment(GRAY, mpp=0.5, model=random_checkpoint, **settings)


def test_a_channel_that_is_not_there(random_checkpoint):
    with pytest.raises(npl.errors.ImageError, match="has no channel '7'"):
        npl.segment(np.zeros((40, 50, 5), np.uint8), mpp=0.5, channel=7, model=random_checkpoint)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((4, 5)), "predicted: float64; expected integers"),
        (np.zeros((4, 5), bool), "bool .a mask has no ids"),
        (np.full((4, 5), -1), "holds the id -1"),
        (np.full((4, 5), 2**32), "holds the id 4294967296"),
        (np.zeros((4, 5, 3), int), r"shape \(4, 5, 3\); expected an instance map"),
        (np.zeros((5, 5), int), r"shape \(5, 5\), true has \(4, 5\)"),
    ],
)
def test_labels(labels, message):
    with pytest.raises(ArgumentError, match=message):
        npl.evaluate(np.zeros((4, 5), int), labels)


@pytest.mark.parametrize(
    ("maps", "channels", "message"),
    [
        (np.zeros((2, 9, 9), np.uint8), None, "2 channels; name them"),
        (np.zeros((2, 9, 9), np.uint8), {"interior": 0}, "expected foreground alone"),
        (np.zeros((2, 9, 9), np.uint8), {"foreground": 2}, "foreground=2; expected the index"),
        (np.zeros((2, 9, 9), np.uint8), {"nuclei": 0}, "channel 'nuclei'; expected foreground"),
        (np.full((9, 9), 1.5), None, r"channel 0 holds 1\.5\.\.1\.5; expected probabilities"),
        (np.full((9, 9), np.nan), None, "holds NaN"),
        (np.zeros((9, 9), int), None, "int64; expected uint8"),
        (np.zeros((30, 30, 3), np.uint8), None, "channels last"),
        (np.zeros(5, np.uint8), None, r"shape \(5,\)"),
    ],
)
def test_maps(maps, channels, message):
    with pytest.raises(ArgumentError, match=message):
        npl.stitch_probabilities(maps, channels=channels)


def test_maps_of_instances(random_checkpoint):
    with pytest.raises(ArgumentError, match=r"expected .3 or 4, H, W. uint8"):
        npl.load(random_checkpoint).instances(np.zeros((3, 9, 9)))


def test_models():
    with pytest.raises(CheckpointError, match="int; expected 'default', a run folder"):
        npl.load(3)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        npl.load("no/such/run")
    with pytest.raises(ArgumentError, match="stride is for a torch module or an ONNX model"):
        npl.load("default", stride=16)


TILE = np.zeros((9, 9), int)


@pytest.mark.parametrize(
    ("tiles", "settings", "message"),
    [
        ([], {}, "tiles: none"),
        ([TILE], {}, r"tiles\[0\]: expected \(labels, \(y0, x0\)\)"),
        ([(TILE, (0, 0)), (TILE, (0, -1))], {}, r"tiles\[1\]: lies at \(0, -1\)"),
        ([(TILE, (0, 0.5))], {}, "expected whole pixels"),
        ([(TILE * 1.0, (0, 0))], {}, r"tiles\[0\]: float64; expected integers"),
        ([(TILE, (3, 0))], {"shape": (9, 9)}, r"the tiles reach to \(12, 9\)"),
        ([(TILE, (0, 0))], {"min_iou": 0}, "min_iou: 0; expected above 0"),
        ([(TILE, (0, 0))], {"mpp": -1}, "mpp: -1; expected micrometers"),
    ],
)
def test_tiles(tiles, settings, message):
    with pytest.raises(ArgumentError, match=message):
        npl.stitch_instances(tiles, **settings)


def test_certificate_of_merged_tiles():
    tile = np.zeros((9, 9), int)
    tile[2:7, 3:6] = 40
    result = npl.stitch_instances([(tile, (0, 0)), (tile[:, 2:], (0, 2))], shape=(10, 12), mpp=0.5)
    assert result.labels.shape == (10, 12)
    assert result.nuclei["area_um2"].tolist() == [15 / 4]
    assert "mean_probability" not in result.nuclei
    assert result.certificate["map_of"] == "another program"
    assert result.certificate["equal_to_uncut"] is None
    assert repr(result) == "LabelsResult(1 nuclei, 10 x 12 px)"
