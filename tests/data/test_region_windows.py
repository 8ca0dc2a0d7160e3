"""Windows of annotated regions: where they lie, how often, and as if each were cut out."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from nucleipel.core.geometry import Box
from nucleipel.core.intensity import IntensityRange, RangeRule
from nucleipel.data.augment import Augment
from nucleipel.data.synthetic import build_scene
from nucleipel.data.whole_images import WholeTrainingImages
from nucleipel.data.windows import TrainingWindows, ValidationWindows, annotated_images
from nucleipel.errors import ImageError
from nucleipel.io.manifest import read_manifest
from nucleipel.io.slides.slide_reader import SlideReader
from nucleipel.io.slides.write_slide import write_annotation, write_slide

STILL = Augment(rotate_degrees=0, intensity=0, stain=0)
LIVELY = Augment(rotate_degrees=30, intensity=1, stain=1, gray_stained=0.3, crowded=0.3, as_dye=0.3)
SHAPE = (600, 700)
REGIONS = [Box(40, 20, 240, 260), Box(300, 400, 480, 690), Box(20, 450, 200, 650)]


RANGE = RangeRule(fixed=IntensityRange((10.0,) * 3, (240.0,) * 3))
"""The range of a slide is not that of a part of it; here both are set alike."""


def _ring(box: Box) -> list[list[int]]:
    y0, x0, y1, x1 = box.y0, box.x0, box.y1, box.x1
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]


def _write_region(path: Path, *rings: list[list[int]]) -> None:
    geometries = [{"type": "Polygon", "coordinates": [ring]} for ring in rings]
    features = [{"type": "Feature", "geometry": geometry} for geometry in geometries]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("regions")
    scene = build_scene(SHAPE, seed=3, glass=False)
    write_slide(folder / "slide.ome.tif", scene.image, mpp=0.5)
    write_annotation(folder / "slide.tif", scene.instance_map)
    _write_region(folder / "region.geojson", *map(_ring, REGIONS))
    lines = ["image,label,split,source_id,mpp"]
    for number, box in enumerate(REGIONS):
        write_slide(folder / f"{number}.ome.tif", scene.image[box.slices], mpp=0.5)
        write_annotation(folder / f"{number}.tif", scene.instance_map[box.slices])
        lines.append(f"{number}.ome.tif,{number}.tif,train,source,0.5")
    (folder / "cut.csv").write_text("\n".join(lines))
    return folder


def _images(folder: Path, region: str, label: str = "slide.tif", at_mpp: float | None = None):
    text = f"image,label,region,split,source_id\nslide.ome.tif,{label},{region},train,s\n"
    (folder / "slide.csv").write_text(text)
    reader = SlideReader(channels=3, at_mpp=at_mpp, range_rule=RANGE)
    return annotated_images(read_manifest(folder / "slide.csv"), reader)


def _cut(folder: Path):
    return annotated_images(
        read_manifest(folder / "cut.csv"), SlideReader(channels=3, range_rule=RANGE)
    )


def _windows(images, augment: Augment = STILL, **changes) -> TrainingWindows:
    settings = {"window_px": 64, "scale_range": (0.7, 1.4), "channels": 3, "boundary_px": 2}
    return TrainingWindows(images, count=1000, augment=augment, seed=5, **(settings | changes))


def _equal(one, other) -> bool:
    ids = [np.unique(sample.instance_map, return_inverse=True)[1] for sample in (one, other)]
    return all(map(torch.equal, one[:3], other[:3])) and np.array_equal(*ids)


@pytest.mark.parametrize("augment", [STILL, LIVELY])
def test_windows_are_those_of_the_regions_cut_out(folder: Path, augment: Augment) -> None:
    whole = _windows(_images(folder, "region.geojson"), augment)
    cut = _windows(_cut(folder), augment)
    assert len(whole.cells) == len(cut.cells)
    assert whole.weights is None, "all cells are full"
    for number in range(60):
        assert _equal(whole[number], cut[number]), number


def test_validation_windows_are_those_of_the_regions_cut_out(folder: Path) -> None:
    settings = {"limit": 9, "window_px": 64, "channels": 3, "boundary_px": 2}
    whole = ValidationWindows(_images(folder, "region.geojson"), **settings)
    cut = ValidationWindows(_cut(folder), **settings)
    assert len(whole) == len(cut) == 9
    for one, other in zip(map(whole.__getitem__, range(9)), map(cut.__getitem__, range(9)),
                          strict=True):  # fmt: skip
        assert _equal(one, other)


def test_a_window_larger_than_its_region_shows_what_lies_around_and_learns_the_region(
    folder: Path,
) -> None:
    small = Box(200, 300, 230, 340)
    _write_region(folder / "small.geojson", _ring(small))
    images = _images(folder, "small.geojson")
    windows = _windows(images, scale_range=(1.0, 1.0))
    assert {cell.share for cell in windows.cells} == {30 * 40 / 64**2}
    for number in range(5):
        sample = windows[number]
        assert sample.onehot.sum() == 30 * 40
        assert sample.image[:, 0].std() > 0, "pixels around it are shown"
    scene = build_scene(SHAPE, seed=3, glass=False)
    inside = (scene.instance_map[small.slices] > 0).sum()
    assert sample.onehot[1:].sum() == inside


def test_regions_are_seen_in_proportion_to_their_area(folder: Path) -> None:
    """A triangle, a small square and a bar: cells that they fill in part come less often."""
    shapes = [[[20, 20], [276, 20], [20, 276], [20, 20]], _ring(Box(400, 500, 432, 532)),
              _ring(Box(300, 300, 364, 492))]  # fmt: skip
    _write_region(folder / "shapes.geojson", *shapes)
    windows = _windows(_images(folder, "shapes.geojson"), scale_range=(1.0, 1.0))
    areas = [256 * 256 / 2, 32 * 32, 64 * 192]
    boxes = [Box(20, 20, 276, 276), Box(400, 500, 432, 532), Box(300, 300, 364, 492)]
    assert all(cell.share > 0 for cell in windows.cells)
    seen = Counter(windows.cells[windows._item(i)].piece for i in range(len(windows.cells) * 2000))
    for area, box in zip(areas, boxes, strict=True):
        assert seen[box] / seen.total() == pytest.approx(area / sum(areas), rel=0.1)


def test_every_window_shows_some_of_its_region(folder: Path) -> None:
    """Of a thin diagonal most jittered windows would show nothing."""
    _write_region(folder / "thin.geojson", [[20, 20], [30, 20], [600, 560], [590, 560], [20, 20]])
    windows = _windows(_images(folder, "thin.geojson"), window_px=32)
    assert len(windows.cells) < (560 // 32) * 5
    for number in range(80):
        assert windows[number].onehot.any()


def test_groups_share_by_what_was_annotated(folder: Path) -> None:
    _write_region(folder / "half.geojson", _ring(Box(0, 0, 300, 700)))
    images = _images(folder, "half.geojson") + _images(folder, "region.geojson")
    windows = _windows(images, window_px=50, groups=[[0], [1]])
    areas = [300 * 700, sum(box.shape[0] * box.shape[1] for box in REGIONS)]
    seen = Counter(windows.cells[windows._item(i)].image for i in range(len(windows.cells) * 50))
    assert seen[0] / seen[1] == pytest.approx((areas[0] / areas[1]) ** 0.5, rel=0.1)


def test_a_region_of_everything_is_no_region(folder: Path) -> None:
    _write_region(folder / "all.geojson", _ring(Box(0, 0, *SHAPE)))
    for at_mpp in (None, 0.8, 1.0):
        whole = _windows(_images(folder, "all.geojson", at_mpp=at_mpp), LIVELY)
        without = _windows(_images(folder, "", at_mpp=at_mpp), LIVELY)
        for number in range(10):
            assert _equal(whole[number], without[number])


def test_whole_images_are_resized_with_their_region(folder: Path) -> None:
    images = _images(folder, "region.geojson")
    squares = WholeTrainingImages(
        images, count=2, side_px=128, augment=STILL, channels=3, boundary_px=2, seed=0
    )
    area = sum(box.shape[0] * box.shape[1] for box in REGIONS)
    share = area / (SHAPE[0] * SHAPE[1])
    assert squares[0].onehot.sum() / 128**2 == pytest.approx(share, abs=0.01)


def test_a_region_of_less_than_a_pixel_is_refused(folder: Path) -> None:
    _write_region(folder / "dot.geojson", [[9, 9], [9.2, 9], [9.2, 9.2], [9, 9]])
    with pytest.raises(ImageError, match="its region holds no pixel at the working mpp"):
        _windows(_images(folder, "dot.geojson"))
