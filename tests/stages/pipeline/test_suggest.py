"""Suggested regions: GeoJSON that `import` takes back, the same for any tile size."""

import json
from pathlib import Path

import pytest
from support.untrained import small_network, write_untrained

import nucleipel as npl
from nucleipel.config import SuggestConfig
from nucleipel.errors import ImageError
from nucleipel.io.annotations.region import read_region
from nucleipel.io.csv_table import read_table
from nucleipel.io.manifest import Manifest, manifest_of_images
from nucleipel.stages.pipeline.suggest import SuggestedRegion, in_rounds, suggest

CONFIG = SuggestConfig(device="cpu", regions=3, size_um=16)


def _checkpoint(folder: Path, core_px: int) -> Path:
    return write_untrained(folder, small_network(block_px=1), core_px=core_px)


@pytest.fixture(scope="module")
def images(tiny_set) -> Manifest:
    return manifest_of_images([tiny_set.image("train"), tiny_set.image("test")])


@pytest.fixture(scope="module")
def suggested(images: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suggested")
    return suggest(_checkpoint(folder / "run", 32), images, folder / "out", CONFIG)


def test_regions_are_squares_on_the_images_that_qupath_names(suggested: Path) -> None:
    table = read_table(suggested / "regions.csv")
    assert [line["rank"] for line in table] == ["1", "2", "3"]
    assert {line["id"] for line in table[:2]} == {"train", "test"}, "each image before a second one"
    for line in table:
        y0, x0, y1, x1 = (float(line[name]) for name in ("y0", "x0", "y1", "x1"))
        assert y1 - y0 == x1 - x0 == 32, "16 um at 0.5 um"
        assert 0 < float(line["doubt"]) <= 1
    for name, shape in (("train", (160, 224)), ("test", (100, 170))):
        own = [line for line in table if line["id"] == name]
        areas = read_region(suggested / f"{name}.geojson", shape)
        assert len(areas) == len(own)
        features = json.loads((suggested / f"{name}.geojson").read_text())["features"]
        for line, feature, box in zip(own, features, areas.boxes, strict=True):
            assert feature["properties"]["name"].startswith(f"suggested {line['rank']}, doubt 0.")
            assert feature["properties"]["classification"] == {"name": "Region*"}
            assert box.tolist() == [float(line[edge]) for edge in ("y0", "x0", "y1", "x1")]
    assert not (suggested / ".work").exists()


def test_tiles_of_another_size_give_the_same_regions(
    suggested: Path, images: Manifest, tmp_path: Path
) -> None:
    other = suggest(_checkpoint(tmp_path / "run", 64), images, tmp_path / "out", CONFIG)
    for name in ("regions.csv", "train.geojson", "test.geojson"):
        assert (other / name).read_bytes() == (suggested / name).read_bytes()


def test_from_python(suggested: Path, images: Manifest, tmp_path: Path) -> None:
    checkpoint = _checkpoint(tmp_path / "run", 32)
    paths = [row.image for row in images]
    settings = {"device": "cpu", "regions": 3, "size_um": 16}
    regions = npl.suggest(paths, out=tmp_path / "out", checkpoint=checkpoint, **settings)
    table = read_table(suggested / "regions.csv")
    assert [(region["id"], region["y0"]) for region in regions] == [
        (line["id"], float(line["y0"])) for line in table
    ]


def test_a_region_larger_than_an_image_is_refused(images: Manifest, tmp_path: Path) -> None:
    checkpoint = _checkpoint(tmp_path / "run", 32)
    wide = CONFIG.model_copy(update={"size_um": 1000.0})
    with pytest.raises(ImageError, match=r"160 x 224 px, too small for a region of 2000 px"):
        suggest(checkpoint, images, tmp_path / "out", wide)


def test_rounds_by_falling_doubt() -> None:
    a, b, c = (SuggestedRegion(str(doubt), (0, 0, 1, 1), doubt) for doubt in (1, 3, 2))
    assert in_rounds([[a, c], [b]], 9) == [b, a, c]
    assert in_rounds([[a, c], [b]], 1) == [b]
    assert in_rounds([], 3) == []
