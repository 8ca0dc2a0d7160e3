"""The frame of results: the scanned part that QuPath shows, and the place that OME-Zarr gives."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from support.foreign_files import gray, open_group, write_ngff, write_scn
from support.whole_outputs import write_label_pyramid

from nucleipel.core.geometry import Box
from nucleipel.io.slides.formats import open_image
from nucleipel.io.slides.slide import open_slide


def _waves() -> np.ndarray:
    y, x = np.mgrid[:600, :900]
    waves = [np.sin(y / (19 + c)) + np.cos(x / (23 - 2 * c)) for c in range(3)]
    return ((np.stack(waves, axis=-1) + 2) / 4 * 200).astype(np.uint8)


def test_the_scanned_part_is_the_image(tmp_path: Path) -> None:
    pixels = _waves()
    path = write_scn(tmp_path / "a.scn", pixels, offset=(310, 770), mpp=0.5)
    with open_slide(path) as slide:
        assert slide.shape == (600, 900)
        assert slide.mpp == pytest.approx(0.5, rel=1e-3)
        assert slide.image.source.offset_px == slide.resolution.source.offset_px == (310, 770)
        assert "scanned part at y 310, x 770" in slide.image.container
        read = slide.read(Box.of_shape(slide.shape))
        assert np.abs(read.astype(int) - pixels).mean() < 2
        inside = Box(7, 11, 411, 699)
        assert np.array_equal(slide.read(inside), read[inside.slices])
    with open_slide(path, at_mpp=2.0) as slide:
        coarse = slide.read(Box.of_shape(slide.shape))
        assert slide.resolution.level == 1
        errors = np.abs(coarse.astype(int) - pixels[::4, ::4][: slide.shape[0], : slide.shape[1]])
        assert errors.mean() < 6


def test_the_place_of_an_image_goes_to_its_labels(tmp_path: Path) -> None:
    transforms = [
        {"type": "scale", "scale": [1.0, 0.5, 0.5]},
        {"type": "translation", "translation": [0.0, 1000.0, 2000.0]},
    ]
    group = open_group(tmp_path / "a.zarr")
    write_ngff(group, gray()[None], "cyx", transforms=transforms)
    with open_slide(tmp_path / "a.zarr", at_mpp=1.0) as slide:
        working, whole = slide.resolution, slide.resolution.at_level_0()
    assert whole.world().translation == (1000.0, 2000.0)
    assert whole.world().scale == (0.5, 0.5)
    # the first working pixel covers two: its center is half a pixel of level 0 further
    assert working.world().translation == (1000.25, 2000.25)
    ids = np.zeros(whole.shape, np.uint32)
    write_label_pyramid(tmp_path / "labels.zarr", ids, name="a", world=whole.world())
    ome = json.loads((tmp_path / "labels.zarr" / "zarr.json").read_text())["attributes"]["ome"]
    assert ome["multiscales"][0]["datasets"][0]["coordinateTransformations"] == [
        {"type": "scale", "scale": [0.5, 0.5]},
        {"type": "translation", "translation": [1000.0, 2000.0]},
    ]
    assert open_image(tmp_path / "labels.zarr").source.translation_px == (2000.0, 4000.0)


@pytest.mark.parametrize("order", ["dataset", "image", "both"])
def test_transforms_of_both_places_are_applied_in_turn(tmp_path: Path, order: str) -> None:
    scale = [{"type": "scale", "scale": [2.0, 2.0]}]
    moved = [
        {"type": "scale", "scale": [0.25, 0.25]},
        {"type": "translation", "translation": [3, 5]},
    ]
    group = open_group(tmp_path / "a.zarr")
    write_ngff(group, gray(), "yx", transforms=moved if order != "image" else scale)
    attributes = dict(group.attrs)
    if order != "dataset":
        attributes["multiscales"][0]["coordinateTransformations"] = (
            scale if order == "both" else moved
        )
        group.attrs.update(attributes)
    wanted = {  # scale, then where the first pixel's center lies
        "dataset": (0.25, 3.0, 5.0),
        "image": (0.5, 3.0, 5.0),
        "both": (0.5, 6.0, 10.0),
    }[order]
    with open_slide(tmp_path / "a.zarr") as slide:
        world = slide.resolution.world()
    assert (world.scale[0], *world.translation) == pytest.approx(wanted)


def test_a_scale_without_a_unit_is_carried_as_it_stands(tmp_path: Path) -> None:
    write_ngff(open_group(tmp_path / "a.zarr"), gray(), "yx", unit=None)
    with open_slide(tmp_path / "a.zarr") as slide:
        world = slide.resolution.world()
    assert (world.scale, world.unit, slide.mpp) == ((0.5, 0.5), "", None)
    ids = np.zeros((60, 80), np.uint32)
    write_label_pyramid(tmp_path / "b.zarr", ids, name="a", world=replace(world))
    axes = dict(zarr.open_group(tmp_path / "b.zarr").attrs)["ome"]["multiscales"][0]["axes"]
    assert all("unit" not in axis for axis in axes)
