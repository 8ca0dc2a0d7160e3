"""Images are split by source, one alone into quarters with as many nuclei each."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

import nucleipel.stages.pipeline.halves as module
from nucleipel.errors import ManifestError
from nucleipel.io.manifest import read_manifest
from nucleipel.io.slides.resolution import Resolution
from nucleipel.io.slides.slide_reader import SlideReader
from nucleipel.stages.pipeline.halves import Halves, quarters, split_in_halves

SHAPE = (60, 80)
points = st.lists(
    st.tuples(*(st.integers(0, length - 1) for length in SHAPE)),
    min_size=8,
    max_size=40,
    unique=True,
)


@given(points)
def test_quarters_are_a_partition_with_as_many_centers_each(points: list[tuple[int, int]]) -> None:
    centers = np.array(points, float) + 0.25
    boxes = quarters(centers, SHAPE)
    drawn = np.zeros(SHAPE, int)
    for box in boxes:
        drawn[box.slices] += 1
    assert (drawn == 1).all()
    assert quarters(centers, SHAPE) == boxes
    if len({y for y, _ in points}) == len(points) == len({x for _, x in points}):
        counts = [
            sum(box.y0 <= y < box.y1 and box.x0 <= x < box.x1 for y, x in centers) for box in boxes
        ]
        assert max(counts) - min(counts) <= 2


def _images(folder: Path, nuclei: dict[str, int], sources: dict[str, str]) -> Halves:
    """Images of squares on a grid, so many in each, as a split manifest."""
    lines = ["image,label,split,source_id"]
    for name, count in nuclei.items():
        ids = np.zeros((64, 64), np.uint16)
        for number in range(count):
            y, x = divmod(number, 6)
            ids[4 + 10 * y : 10 + 10 * y, 4 + 10 * x : 10 + 10 * x] = number + 1
        tifffile.imwrite(folder / f"{name}_label.tif", ids)
        noise = np.random.default_rng(len(lines)).integers(0, 20, ids.shape)
        tifffile.imwrite(folder / f"{name}.tif", ((ids > 0) * 200 + noise).astype(np.uint8))
        lines.append(f"{name}.tif,{name}_label.tif,,{sources.get(name, '')}")
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    halves = split_in_halves(
        read_manifest(folder / "m.csv"), SlideReader(channels=1), folder / "parts"
    )
    assert not (folder / "parts").exists(), "what is refused leaves nothing"
    halves.write_regions()
    return halves


def test_sources_stay_whole_and_halves_have_as_many_nuclei(tmp_path: Path) -> None:
    nuclei = {"a": 12, "b": 4, "c": 5, "d": 9}
    halves = _images(tmp_path, nuclei, {"b": "p", "c": "p"})
    assert halves.sources == ("a", "p", "p", "d")
    assert halves.half_of == (0, 1, 1, 1)
    assert halves.nuclei == 30
    assert [row.id for row in halves.of(1)] == ["b", "c", "d"]
    trained = halves.to_train(1)
    assert [row.id for row in trained.of_split("train")] == ["b", "c", "d"]


def test_images_of_one_source_are_split_image_by_image(tmp_path: Path) -> None:
    halves = _images(tmp_path, {"a": 6, "b": 5}, {"a": "p", "b": "p"})
    assert halves.half_of == (0, 1)
    assert halves.cut == "images of one source"


def test_one_image_is_cut_into_quarters_that_together_are_it(tmp_path: Path) -> None:
    halves = _images(tmp_path, {"a": 20}, {})
    assert halves.half_of == (0, 1, 1, 0)
    assert halves.nuclei == 20
    total, shape = np.zeros((64, 64), int), (64, 64)
    for row in halves.rows:
        annotation = row.load_annotation(shape)
        (piece,) = annotation.pieces(Resolution.pixel_for_pixel(shape, None))
        total[piece.slices] += 1
        assert tifffile.imread(tmp_path / "a_label.tif")[piece.slices].any()
    assert (total == 1).all()


def test_too_few_nuclei_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"a\.tif: 3 annotated nuclei; annotate at least 4"):
        _images(tmp_path, {"a": 3}, {})
    with pytest.raises(ManifestError, match="5 annotated nuclei, all of one image"):
        _images(tmp_path, {"a": 5, "b": 0}, {})


@pytest.mark.parametrize("window_px", [7, 64])
def test_centers_do_not_depend_on_how_labels_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window_px: int
) -> None:
    monkeypatch.setattr(module, "WINDOW_PX", window_px)
    halves = _images(tmp_path, {"a": 7}, {})
    regions = [row.region.read_text() for row in halves.rows if row.region]
    shutil.rmtree(tmp_path / "parts")
    monkeypatch.setattr(module, "WINDOW_PX", 1000)
    again = _images(tmp_path, {"a": 7}, {})
    assert [row.region.read_text() for row in again.rows if row.region] == regions
