"""Glass is skipped, and no nucleus is lost or cut by it, with a network that finds what is dark."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from support.command_line import refusal
from support.darkness import Darkness, in_place_of_any
from support.untrained import small_network, write_untrained

from nucleipel.config import PredictConfig, SegmentConfig
from nucleipel.errors import OutputError
from nucleipel.io.manifest import manifest_of_images
from nucleipel.io.slides.slide import open_slide
from nucleipel.io.stores.predictions import open_predictions
from nucleipel.io.tissue_mask import tissue_of
from nucleipel.stages.pipeline.predict import predict
from nucleipel.stages.pipeline.segment import segment

pytestmark = pytest.mark.slow

SHAPE = (330, 2304)
EDGE = 805
"""Tissue lies left of this column."""
NUCLEI = [(y, x) for y in range(15, 330, 30) for x in range(15, 690, 30)]
NUCLEI += [(90, 796), (250, 812), (160, 1503), (300, 1510)]
"""Many in the tissue, some on its edge, some alone on glass."""


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Darkness:
    """In place of that of the checkpoint `tmp_path / "run"`."""
    write_untrained(tmp_path / "run", small_network(block_px=2), mpp=None, core_px=64)
    return in_place_of_any(monkeypatch, "pipeline.predict")


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    pixels = np.full((*SHAPE, 3), (244, 243, 245), np.uint8)
    pixels[:, :EDGE] = (226, 185, 214)
    pixels += np.random.default_rng(0).integers(0, 3, pixels.shape, np.uint8)
    for y, x in NUCLEI:
        cv2.circle(pixels, (x, y), 7, (70, 40, 110), -1)
    cv2.ellipse(pixels, (EDGE, 20), (100, 6), 0, 0, 360, (70, 40, 110), -1)  # far into the glass
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def _segment(slide: Path, out: Path, tissue: str) -> tuple[np.ndarray, dict[str, object]]:
    rows = manifest_of_images([slide])
    config = SegmentConfig(device="cpu", threads=1, tissue=tissue, keep_predictions=True)
    segment(slide.parent / "run", rows, out, config)
    certificate = json.loads((out / "a" / "certificate.json").read_text())
    return tifffile.imread(out / "a" / "instances.ome.tif"), certificate["tissue"]


def test_skipping_glass_changes_no_nucleus(network: Darkness, slide: Path, tmp_path: Path) -> None:
    whole, message = _segment(slide, tmp_path / "off", "off")
    assert message == {"mask": "off", "skipped_px": 0, "skipped_percent": 0.0}
    all_windows, network.windows = network.windows, 0
    found, message = _segment(slide, tmp_path / "auto", "auto")
    assert whole.max() == len(NUCLEI) + 1
    assert np.array_equal(found, whole)
    assert (message["mask"], message["ground"]) == ("auto", "bright")
    assert all_windows == message["cores"] == 6 * 36
    assert network.windows == message["cores"] - message["skipped_cores"]
    assert message["skipped_percent"] > 25
    maps = open_predictions(tmp_path / "auto" / "predictions.zarr").images[0].read_map()
    assert (maps[:, :, -64:] == np.array([255, 0, 0, 0]).reshape(4, 1, 1)).all()
    assert message["skipped_percent"] == round(100 * message["skipped_px"] / (330 * 2304), 2)


def _mask_files(folder: Path) -> dict[str, Path]:
    """The left 400 columns, but for a hole, as outlines and as pictures of two sizes."""
    outer = [[0, 0], [400, 0], [400, 330], [0, 330], [0, 0]]
    hole = [[96, 96], [224, 96], [224, 224], [96, 224], [96, 96]]
    feature = {
        "type": "Feature",
        "properties": {"objectType": "annotation"},
        "geometry": {"type": "Polygon", "coordinates": [outer, hole]},
    }
    pixels = np.zeros(SHAPE, np.uint8)
    pixels[:, :400] = 255
    pixels[96:224, 96:224] = 0
    files = {name: folder / name for name in ("m.geojson", "m.tif", "m.png")}
    files["m.geojson"].write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    tifffile.imwrite(files["m.tif"], pixels)
    Image.fromarray(pixels[::3, ::3]).save(files["m.png"])
    return files


def test_masks_of_the_user(network: Darkness, slide: Path, tmp_path: Path) -> None:
    whole, _ = _segment(slide, tmp_path / "off", "off")
    for name, path in _mask_files(tmp_path).items():
        found, message = _segment(slide, tmp_path / f"with {name}", str(path))
        assert (message["mask"], message["skipped_cores"]) == (name, 6 * (36 - 9)), name
        # whole as far as the ring reaches; the ids differ, since nuclei are missing on the right
        pairs = np.unique(np.stack([found[:, :520], whole[:, :520]]).reshape(2, -1), axis=1)
        assert all(len(np.unique(ids)) == pairs.shape[1] > 100 for ids in pairs), name
        assert not found[:, 9 * 64 :].any(), name


def test_holes_and_single_pixels_of_masks(slide: Path, tmp_path: Path) -> None:
    files = _mask_files(tmp_path)
    with open_slide(slide) as opened:
        for name, path in files.items():
            tissue = tissue_of(opened, str(path), image_id="a")
            assert tissue is not None
            assert tissue.mask.shape == (21, 144)
            assert tissue.mask[:, :25].mean() > 0.85, name
            assert not tissue.mask[7:13, 7:13].any(), name
            assert not tissue.mask[:, 27:].any(), name
        dot = np.zeros(SHAPE, np.uint8)
        dot[161, 1007] = 1
        tifffile.imwrite(tmp_path / "dot.tif", dot, tile=(64, 64))
        tissue = tissue_of(opened, str(tmp_path / "dot.tif"), image_id="a")
    assert tissue is not None
    assert np.argwhere(tissue.mask).tolist() == [[161 // 16, 1007 // 16]]


def test_another_mask_is_another_run(network: Darkness, slide: Path, tmp_path: Path) -> None:
    rows, out = manifest_of_images([slide]), tmp_path / "maps.zarr"
    path = _mask_files(tmp_path)["m.png"]
    run = tmp_path / "run"
    predict(run, rows, out, PredictConfig(device="cpu", tissue=str(path)))
    before = network.windows
    predict(run, rows, out, PredictConfig(device="cpu", tissue=str(path)))
    assert network.windows == before
    with pytest.raises(OutputError, match=r"holds another run \(config\.tissue .* auto now"):
        predict(run, rows, out, PredictConfig(device="cpu"))
    Image.fromarray(np.ones(SHAPE, np.uint8)).save(path)
    with pytest.raises(OutputError, match=r"holds another run \(another tissue\)"):
        predict(run, rows, out, PredictConfig(device="cpu", tissue=str(path)))


def test_small_images_are_predicted_whole(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 2047), 255, np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.full((20, 2048), 255, np.uint8)).save(tmp_path / "b.png")
    for name, skips in (("a", False), ("b", True)):
        with open_slide(tmp_path / f"{name}.png") as opened:
            assert (tissue_of(opened, "auto", image_id=name) is not None) == skips


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_fluorescence_on_dark_ground(tmp_path: Path, dtype: type) -> None:
    draw = np.random.default_rng(0)
    ground = (100, 130) if dtype == np.uint16 else (0, 4)
    pixels = draw.integers(*ground, (320, 2304)).astype(np.float32)
    for index, x in enumerate(range(20, 1100, 40)):
        cv2.circle(pixels, (x, 100 + 3 * index), 5, ground[1] + 40 + 3 * index, -1)
    tifffile.imwrite(tmp_path / "a.tif", pixels.astype(dtype))
    with open_slide(tmp_path / "a.tif") as opened:
        tissue = opened.tissue().tissue
    assert tissue.origin["ground"] == "dark"
    for index, x in enumerate(range(20, 1100, 40)):
        assert tissue.mask[(100 + 3 * index) // 16, x // 16], index
    assert not tissue.mask[:, 1152 // 16 :].any()


def test_masks_that_do_not_fit(tmp_path: Path) -> None:
    for name in "ab":
        Image.fromarray(np.full((20, 30, 3), 255, np.uint8)).save(tmp_path / f"{name}.png")
    files = _mask_files(tmp_path)
    turned = tmp_path / "turned.tif"
    tifffile.imwrite(turned, np.ones((30, 20), np.uint8))
    away = tmp_path / "away.geojson"
    away.write_text(files["m.geojson"].read_text().replace("[", "[", 1).replace("0,", "9000,"))
    (tmp_path / "masks").mkdir()
    cases = [
        ("Auto", "Auto: no such tissue mask; expected auto, off, or a file or folder of .geojson"),
        (turned, "the tissue mask is 30 x 20 px, its slide 20 x 30 px"),
        (away, "areas lie outside the image of 20 x 30 px|not closed"),
        (tmp_path / "masks", "holds no tissue mask of 'a'"),
        (tmp_path / "a.png" / "x", "no such tissue mask"),
    ]
    out = tmp_path / "out"
    for mask, says in cases:
        arguments = [
            "segment",
            tmp_path / "a.png",
            "--tissue",
            mask,
            "--out",
            out,
            "--device",
            "cpu",
        ]
        message = refusal(*arguments, untouched=out)
        assert re.search(says, message), message
    both = [tmp_path / "a.png", tmp_path / "b.png"]
    message = refusal("segment", *both, "--tissue", files["m.tif"], "--out", out, untouched=out)
    assert "one tissue mask for 2 images; give a folder" in message
