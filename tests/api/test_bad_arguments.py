"""One clear exception for a wrong argument, in each function of the Python API."""

import numpy as np
import pytest

import nucleipel as npl
from nucleipel.errors import ArgumentError, ConfigError, NucleipelError

GRAY = np.zeros((40, 50), np.uint8)
IDS = np.zeros((9, 9), int)
MAPS = np.zeros((3, 20, 20), np.uint8)
TILE = [(IDS, (0, 0))]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: npl.segment_slide(GRAY, out="o"), "path: ndarray; expected a path"),
        (lambda: npl.segment_slide("a.svs", out="o", mpp=0), "mpp: 0; expected micrometers"),
        (lambda: npl.segment_slide("a.svs", out="o", at_mpp=-1), "at_mpp: -1; expected"),
        (lambda: npl.segment_slide("a.svs", out="o"), "a.svs: no such file"),
        (lambda: npl.segment_slide("a.svs", out="o", config=3), "config: int; expected a path"),
        (lambda: npl.stitch_probabilities(np.full((9, 9), -0.1)), r"holds -0\.1\.\.-0\.1"),
        (lambda: npl.stitch_probabilities(MAPS, mpp=0), "mpp: 0; expected micrometers"),
        (lambda: npl.stitch_probabilities([[1, 2], [3]]), "maps: no array"),
        (lambda: npl.stitch_probabilities(np.zeros((0, 9))), r"shape \(0, 9\)"),
        (lambda: npl.stitch_probabilities(MAPS, channels="a=0"), 'channels is "a=0"'),
        (lambda: npl.stitch_probabilities(MAPS, out=3), "out: int; expected a path"),
        (lambda: npl.stitch_probabilities("a.zarr"), "files need out="),
        (lambda: npl.stitch_instances(None), "tiles: NoneType; expected"),
        (lambda: npl.stitch_instances([(IDS - 1, (0, 0))]), "holds the id -1"),
        (lambda: npl.stitch_instances([(IDS * np.nan, (0, 0))]), "float64; expected integers"),
        (lambda: npl.stitch_instances(TILE, shape=9), "shape: 9; expected"),
        (lambda: npl.stitch_instances(TILE, mpp=float("nan")), "mpp: nan; expected micrometers"),
        (lambda: npl.evaluate(IDS * 1.0, IDS), "true: float64; expected integers"),
        (lambda: npl.evaluate([[1, 2], [3]], IDS), "true: no array"),
        (lambda: npl.evaluate(IDS, IDS, ap_thresholds=[1.5]), r"ap_thresholds: \[1\.5\]"),
        (lambda: npl.datasets.sample(3), "side_px: 3; expected a whole number, at least 32"),
        (lambda: npl.datasets.sample(64.5), "side_px: 64.5; expected a whole number"),
        (lambda: npl.datasets.sample(64, seed=-1), "seed: -1; expected a whole number"),
        (lambda: npl.train(3, out="o"), "manifest: int; expected a path"),
        (lambda: npl.train("a.csv", out="o", mpp=0), "mpp: 0; expected micrometers"),
        (lambda: npl.train("a.csv", out="o"), "a.csv: no such manifest"),
        (lambda: npl.tile("a.csv", out="o", mpp=-1), "mpp: -1; expected micrometers"),
        (lambda: npl.tile("a.csv", out=None), "out: NoneType; expected a path"),
        (lambda: npl.finetune("a.csv", out="o", windows=-1), "windows is -1"),
        (lambda: npl.finetune(IDS, out="o"), "manifest: ndarray; expected a path"),
        (lambda: npl.finetune_patches("default", IDS, out="o"), "patches: ndarray; expected"),
        (lambda: npl.finetune_patches("default", "a.zarr", out="o", epochs=-1), "epochs is -1"),
        (lambda: npl.suggest(IDS, out="o"), "images: ndarray; expected a path"),
        (lambda: npl.suggest("a.svs", out="o", regions=-1), "regions is -1"),
        (lambda: npl.SlideResult("none", "a").labels, "none: no such folder"),
    ],
)  # fmt: skip
def test_functions(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NucleipelError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("um", [-1, 0, float("nan"), "5"])
def test_cells(um):
    result = npl.stitch_probabilities(MAPS, mpp=0.5)
    with pytest.raises(ConfigError, match=r"expand_um: .* expected micrometers above 0"):
        result.expand(um)


@pytest.mark.parametrize("name", ["predict", "segment", "__call__"])
def test_methods_of_a_model(random_checkpoint, name):
    method = getattr(npl.load(random_checkpoint), name)
    with pytest.raises(ArgumentError, match="image: float64; expected uint8 or uint16"):
        method(GRAY * 1.0, mpp=0.5)
    with pytest.raises(ArgumentError, match="mpp: 0; expected micrometers"):
        method(GRAY, mpp=0)
    with pytest.raises(ConfigError, match="unknown key 'at'"):
        method(GRAY, mpp=0.5, at=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stride": 0}, "stride 0; expected a whole number, at least 1"),
        ({"channels": 0}, "channels 0; expected"),
        ({"core_px": -32}, "core_px -32; expected"),
        ({"mpp": 0}, "mpp: 0; expected micrometers"),
        ({"channels": "3"}, r"needs channels= and stride="),
        ({"instances": {"a": 1}}, "unknown key 'a'"),
        ({"activation": "none"}, "activation is for ONNX models"),
    ],
)
def test_modules(random_checkpoint, settings, message):
    network = npl.load(random_checkpoint).checkpoint.network
    with pytest.raises(NucleipelError, match=message):
        npl.load(network, **{"channels": 3, "stride": 2, **settings})
